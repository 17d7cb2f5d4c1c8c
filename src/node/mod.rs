//! MEASURE: facts about the node itself: machine, versions, filesystems.
