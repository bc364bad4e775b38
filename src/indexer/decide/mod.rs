//! What is known of an Indexer, and what it means for the tasks that were given to it (pure).

pub mod answer;
pub mod meaning;
pub mod post;
pub mod view;
