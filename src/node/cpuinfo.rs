//! Pure: `/proc/cpuinfo`, whose form differs by architecture. Only what sysfs does not tell (the
//! vendor), and what stands in where sysfs is missing.

use std::collections::BTreeMap;

/// What `/proc/cpuinfo` says; a key that the architecture does not print is absent.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CpuInfo {
    /// `vendor_id` (x86, s390x), else the name of the arm64 `CPU implementer`.
    pub vendor: Option<String>,
    /// The first clock rate: `cpu MHz` (x86), `cpu MHz static` (s390x), `clock` (powerpc). In kHz.
    pub frequency_khz: Option<u64>,
    /// By CPU number, the ids that stand below `processor`.
    pub processors: BTreeMap<u32, Processor>,
}

/// The place of one CPU, as far as `/proc/cpuinfo` tells.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Processor {
    /// `physical id`: the socket.
    pub package: Option<u32>,
    /// `core id`, unique within a socket.
    pub core: Option<u32>,
    /// `book id` (s390x).
    pub book: Option<u32>,
    /// `drawer id` (s390x).
    pub drawer: Option<u32>,
}

/// Designers of arm64 cores, by `CPU implementer` (Arm's Main ID Register).
const ARM_IMPLEMENTERS: [(&str, &str); 12] = [
    ("0x41", "ARM"),
    ("0x42", "Broadcom"),
    ("0x43", "Cavium"),
    ("0x46", "Fujitsu"),
    ("0x48", "HiSilicon"),
    ("0x4e", "NVIDIA"),
    ("0x50", "APM"),
    ("0x51", "Qualcomm"),
    ("0x61", "Apple"),
    ("0x69", "Intel"),
    ("0x6d", "Microsoft"),
    ("0xc0", "Ampere"),
];

/// Reads the text of `/proc/cpuinfo`.
pub fn parse(text: &str) -> CpuInfo {
    let mut info = CpuInfo::default();
    let mut current = None;
    for line in text.lines() {
        let Some((key, value)) = line.split_once(':') else {
            continue;
        };
        let (key, value) = (key.trim(), value.trim());
        match key {
            "processor" => {
                current = value.parse().ok();
                if let Some(cpu) = current {
                    info.processors.entry(cpu).or_default();
                }
            }
            // s390x opens the block of each CPU with this, below a summary of all of them.
            "cpu number" => {
                current = value.parse().ok();
                if let Some(cpu) = current {
                    info.processors.entry(cpu).or_default();
                }
            }
            "vendor_id" if !value.is_empty() => {
                info.vendor.get_or_insert_with(|| value.to_owned());
            }
            "CPU implementer" => {
                let known = ARM_IMPLEMENTERS.iter().find(|(id, _)| *id == value);
                if let (None, Some((_, name))) = (&info.vendor, known) {
                    info.vendor = Some((*name).to_owned());
                }
            }
            "cpu MHz" | "CPU MHz" | "cpu MHz static" | "clock" => {
                info.frequency_khz = info.frequency_khz.or_else(|| khz(value));
            }
            "physical id" | "core id" | "book id" | "drawer id" => {
                let Some(processor) = current.and_then(|cpu| info.processors.get_mut(&cpu)) else {
                    continue;
                };
                let id = value.parse().ok();
                match key {
                    "physical id" => processor.package = id,
                    "core id" => processor.core = id,
                    "book id" => processor.book = id,
                    _ => processor.drawer = id,
                }
            }
            _ => {
                // s390x: `processor 0: version = FF, identification = 02D3`.
                let cpu = key
                    .strip_prefix("processor ")
                    .and_then(|cpu| cpu.trim().parse().ok());
                if let Some(cpu) = cpu {
                    info.processors.entry(cpu).or_default();
                }
            }
        }
    }
    info
}

/// `2596.146` or `3425.000000MHz` to kHz, rounded down.
fn khz(value: &str) -> Option<u64> {
    let mhz: f64 = value.trim_end_matches("MHz").trim().parse().ok()?;
    // A hypervisor may say 0.000: it does not know.
    (mhz.is_finite() && mhz > 0.0 && mhz < 1e9).then_some((mhz * 1000.0) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn x86_gives_vendor_clock_and_place() {
        let info = parse(
            "processor\t: 0\nvendor_id\t: GenuineIntel\ncpu MHz\t\t: 2596.146\nphysical id\t: 0\ncore id\t\t: 3\n\n\
             processor\t: 5\nvendor_id\t: GenuineIntel\ncpu MHz\t\t: 800.000\nphysical id\t: 1\ncore id\t\t: 3\n",
        );
        assert_eq!(info.vendor.as_deref(), Some("GenuineIntel"));
        assert_eq!(info.frequency_khz, Some(2_596_146));
        assert_eq!(info.processors.len(), 2);
        assert_eq!(info.processors[&5].package, Some(1));
        assert_eq!(info.processors[&5].core, Some(3));
        assert_eq!(info.processors[&5].book, None);
    }

    #[test]
    fn arm64_gives_a_vendor_and_no_clock() {
        let info = parse(
            "processor\t: 0\nBogoMIPS\t: 50.00\nCPU implementer\t: 0x41\nCPU part\t: 0xd0c\n",
        );
        assert_eq!(info.vendor.as_deref(), Some("ARM"));
        assert_eq!(info.frequency_khz, None);
        assert_eq!(info.processors[&0], Processor::default());
    }

    #[test]
    fn s390x_gives_books_and_drawers() {
        let info = parse(
            "vendor_id       : IBM/S390\n# processors    : 2\nprocessor 0: version = FF,  identification = 02D3\n\
             processor 1: version = FF,  identification = 02D3\n\ncpu number      : 0\nphysical id     : 1\n\
             core id         : 0\nbook id         : 2\ndrawer id       : 4\ncpu MHz static  : 5200\n\n\
             cpu number      : 1\nphysical id     : 1\ncore id         : 1\nbook id         : 2\ndrawer id       : 4\n",
        );
        assert_eq!(info.vendor.as_deref(), Some("IBM/S390"));
        assert_eq!(info.frequency_khz, Some(5_200_000));
        assert_eq!(
            info.processors[&1],
            Processor {
                package: Some(1),
                core: Some(1),
                book: Some(2),
                drawer: Some(4)
            }
        );
    }

    #[test]
    fn powerpc_and_nonsense_clocks() {
        assert_eq!(
            parse("clock\t\t: 3425.000000MHz\n").frequency_khz,
            Some(3_425_000)
        );
        for text in [
            "cpu MHz : 0.000",
            "cpu MHz : NaN",
            "cpu MHz : -4",
            "cpu MHz :",
            "cpu MHz : 1e300",
        ] {
            assert_eq!(parse(text).frequency_khz, None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_lines_are_read_without_a_panic(
            lines in proptest::collection::vec(
                ("(processor|processor 1|cpu number|core id|cpu MHz|clock|vendor_id|x)", "[ 0-9a-zM.:\\-]{0,20}"), 0..20)
        ) {
            let text: String = lines.iter().map(|(key, value)| format!("{key}\t:{value}\n")).collect();
            prop_assert!(parse(&text).processors.len() <= lines.len());
        }
    }
}
