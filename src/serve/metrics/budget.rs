//! The most series on a page: whole containers are left out until it fits.

use super::encode::Emit;
use super::format::Format;
use super::labels::Labels;
use super::page::{Page, depth};

/// Leaves containers of `page` out so that it has at most `most` series; gives how many. What is not
/// of containers always stays, and counts.
pub(super) fn apply(page: &mut Page<'_>, most: u64) -> u64 {
    let (mut used, of_containers) = count(page);
    let mut order: Vec<usize> = (0..page.containers.len()).collect();
    // By name they are already.
    order.sort_by_key(|&at| page.containers.get(at).map(|c| depth(&c.name)));
    let mut keep = vec![false; page.containers.len()];
    for at in order {
        let (Some(keep), Some(series)) = (keep.get_mut(at), of_containers.get(at)) else {
            break;
        };
        used = used.saturating_add(*series);
        if used > most {
            break;
        }
        *keep = true;
    }
    let before = page.containers.len();
    let mut keep = keep.into_iter();
    page.containers.retain(|_| keep.next().unwrap_or(false));
    (before - page.containers.len()) as u64
}

/// Series of everything else, and of each container.
fn count(page: &Page<'_>) -> (u64, Vec<u64>) {
    let (mut nothing, none) = (Vec::new(), Labels::default());
    let style = page.style(Format::Text);
    let (mut others, mut of_containers) = (0, vec![0; page.containers.len()]);
    for family in page.families() {
        if family.from.is_of_containers() {
            for (container, series) in page.containers.iter().zip(&mut of_containers) {
                let mut emit = Emit::new(&mut nothing, style, family, &none).dry();
                page.container(family, container, &mut emit);
                *series += emit.finish();
            }
        } else {
            let mut emit = Emit::new(&mut nothing, style, family, &none).dry();
            match family.from {
                super::family::From::Own(figure) => emit.sample(&[], figure(page)),
                super::family::From::Page(write) => write(page, &mut emit),
                _ => {}
            }
            others += emit.finish();
        }
    }
    (others, of_containers)
}
