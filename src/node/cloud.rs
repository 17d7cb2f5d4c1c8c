//! Which cloud the node runs in, as far as its firmware tells (DMI, `/sys/class/dmi/id`). Asks no
//! network: a metadata server may not be there, or not be ours to ask.

use super::Roots;
use super::reader::Reader;

/// The tag that Azure gives the chassis of its virtual machines, and a Hyper-V of one's own does not.
const AZURE_CHASSIS_TAG: &str = "7783-7084-3265-9085-8269-3286-77";

/// A cloud that can be told from DMI.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Provider {
    /// Amazon EC2.
    Aws,
    /// Microsoft Azure.
    Azure,
    /// Google Compute Engine.
    Gce,
}

/// What is known about the cloud.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cloud {
    /// The provider; absent on a machine of one's own and where the firmware does not tell.
    pub provider: Option<Provider>,
    /// Type of the instance, such as `m5.large` (EC2 Nitro tells it).
    pub instance_type: Option<String>,
    /// Id of the instance, such as `i-0123456789abcdef0` (EC2 Nitro tells it).
    pub instance_id: Option<String>,
}

/// The DMI words that matter.
#[derive(Debug, Clone, Default)]
struct Dmi {
    sys_vendor: String,
    product_name: String,
    product_version: String,
    bios_vendor: String,
    bios_version: String,
    chassis_asset_tag: String,
    board_asset_tag: String,
}

/// Reads the hints.
pub fn read(roots: &Roots, reader: &mut Reader) -> Cloud {
    let dir = roots.sysfs.join("class/dmi/id");
    let mut word = |name: &str| reader.text(&dir.join(name)).unwrap_or_default();
    decide(&Dmi {
        sys_vendor: word("sys_vendor"),
        product_name: word("product_name"),
        product_version: word("product_version"),
        bios_vendor: word("bios_vendor"),
        bios_version: word("bios_version"),
        chassis_asset_tag: word("chassis_asset_tag"),
        board_asset_tag: word("board_asset_tag"),
    })
}

fn decide(dmi: &Dmi) -> Cloud {
    let nitro = dmi.sys_vendor == "Amazon EC2" || dmi.bios_vendor == "Amazon EC2";
    // The older Xen instances say it in their versions only (`4.11.amazon`).
    let xen = dmi.sys_vendor == "Xen"
        && [&dmi.product_version, &dmi.bios_version]
            .iter()
            .any(|word| word.contains("amazon"));
    if nitro {
        let id = Some(&dmi.board_asset_tag).filter(|tag| tag.starts_with("i-"));
        return Cloud {
            provider: Some(Provider::Aws),
            instance_type: Some(&dmi.product_name)
                .filter(|name| name.contains('.'))
                .cloned(),
            instance_id: id.cloned(),
        };
    }
    let provider = if xen {
        Some(Provider::Aws)
    } else if dmi.product_name == "Google Compute Engine" {
        Some(Provider::Gce)
    } else if dmi.chassis_asset_tag == AZURE_CHASSIS_TAG {
        Some(Provider::Azure)
    } else {
        None
    };
    Cloud {
        provider,
        ..Cloud::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::test_tree::TestTree;

    fn cloud(words: &[(&str, &str)]) -> Cloud {
        let tree = TestTree::new();
        for (name, word) in words {
            tree.file(&format!("sys/class/dmi/id/{name}"), &format!("{word}\n"));
        }
        read(&tree.roots, &mut Reader::default())
    }

    #[test]
    fn ec2_tells_type_and_id() {
        let cloud = cloud(&[
            ("sys_vendor", "Amazon EC2"),
            ("product_name", "m5.large"),
            ("board_asset_tag", "i-0123456789abcdef0"),
        ]);
        assert_eq!(cloud.provider, Some(Provider::Aws));
        assert_eq!(cloud.instance_type.as_deref(), Some("m5.large"));
        assert_eq!(cloud.instance_id.as_deref(), Some("i-0123456789abcdef0"));
    }

    #[test]
    fn the_others_tell_the_provider_only() {
        let gce = cloud(&[
            ("sys_vendor", "Google"),
            ("product_name", "Google Compute Engine"),
        ]);
        assert_eq!(
            gce,
            Cloud {
                provider: Some(Provider::Gce),
                ..Cloud::default()
            }
        );
        let azure = [
            ("sys_vendor", "Microsoft Corporation"),
            ("chassis_asset_tag", AZURE_CHASSIS_TAG),
        ];
        assert_eq!(cloud(&azure).provider, Some(Provider::Azure));
        let xen = [("sys_vendor", "Xen"), ("bios_version", "4.11.amazon")];
        assert_eq!(cloud(&xen).provider, Some(Provider::Aws));
    }

    #[test]
    fn a_machine_of_ones_own_is_no_cloud() {
        assert_eq!(
            cloud(&[("sys_vendor", "Microsoft Corporation")]),
            Cloud::default()
        );
        assert_eq!(cloud(&[]), Cloud::default());
    }
}
