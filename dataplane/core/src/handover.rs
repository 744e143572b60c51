//! Which core a connection is served by, when the kernel's choice among them was uneven. Pure: the loads and the draw are
//! arguments. How a connection gets there is the proxy's business.

/// The core that should serve a connection that `own` has accepted; `None`: itself.
///
/// The smaller of two drawn others gets it if the own load is more than one and a half times what that one would have with it:
/// so a connection never moves only to change the places of two loads.
pub fn hand_to(own: usize, cores: usize, load: impl Fn(usize) -> usize, drawn: u64) -> Option<usize> {
    let others = u64::try_from(cores).ok()?.checked_sub(1).filter(|others| *others > 0)?;
    // The halves of the draw, each made an index among the others.
    let other = |half: u64| {
        let index = ((half & 0xffff_ffff) * others) >> 32;
        let index = usize::try_from(index).unwrap_or(0);
        if index < own { index } else { index + 1 }
    };
    let (one, two) = (other(drawn), other(drawn >> 32));
    let (least, least_load) = match (load(one), load(two)) {
        (first, second) if second < first => (two, second),
        (first, _) => (one, first),
    };
    (load(own).saturating_mul(2) > least_load.saturating_add(1).saturating_mul(3)).then_some(least)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_clearly_too_much_is_handed_on() {
        for (own, other, handed) in [
            (0, 0, false),
            (1, 0, false),
            (2, 0, true),
            (3, 1, false),
            (4, 1, true),
            (15, 9, false),
            (16, 9, true),
        ] {
            let loads = [own, other];
            assert_eq!(hand_to(0, 2, |core| loads[core], 7), handed.then_some(1), "{loads:?}");
        }
        assert_eq!(hand_to(0, 1, |_| 1000, 7), None);
        assert_eq!(hand_to(0, 2, |core| [usize::MAX, usize::MAX][core], 7), None);
    }

    #[test]
    fn every_other_core_can_be_drawn_and_never_the_own() {
        for own in 0..4 {
            let mut drawn = [0; 4];
            for half in 0..64u64 {
                let draw = (half << 26) | (half << 26) << 32;
                let to = hand_to(own, 4, |core| if core == own { 100 } else { 0 }, draw);
                drawn[to.expect("the others have nothing to do")] += 1;
            }
            assert_eq!(drawn[own], 0);
            assert!(drawn.iter().enumerate().all(|(core, count)| core == own || *count > 15), "{drawn:?}");
        }
    }

    #[test]
    fn connections_that_one_core_accepts_end_up_on_all() {
        let mut loads = [0_usize; 4];
        let mut draw = 1_u64;
        for _ in 0..1000 {
            draw = draw.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let to = hand_to(0, 4, |core| loads[core], draw ^ draw >> 29).unwrap_or(0);
            loads[to] += 1;
        }
        let (least, most) = (loads.iter().min().unwrap(), loads.iter().max().unwrap());
        assert!(*most <= (least + 1) * 3 / 2 + 1, "{loads:?}");
    }
}
