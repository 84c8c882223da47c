//! The repository keeps its own rules: layers, sizes, pages for codes, links, wire artefacts, what operators deploy.

mod house {
    mod alerts;
    mod artefacts;
    mod deploy;
    mod docs;
    mod layers;
    mod repository;
    mod tools;
}
