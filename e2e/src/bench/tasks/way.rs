//! The ways to run a task that are compared.

/// How a task runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub(super) enum Way {
    Plain,
    Crd,
    CrdOnly,
    Job,
    Operator,
    Pool,
    /// As `Operator`, with the program that was given.
    #[value(skip)]
    Other,
}

impl Way {
    pub(super) const ALL: [Self; 6] = [
        Self::Plain,
        Self::Crd,
        Self::CrdOnly,
        Self::Job,
        Self::Operator,
        Self::Pool,
    ];

    /// In table and picture.
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Plain => "floor, trivial objects",
            Self::Crd => "floor, PeonTasks",
            Self::CrdOnly => "floor, PeonTasks without pods",
            Self::Job => "Jobs",
            Self::Operator => "this operator",
            Self::Pool => "this operator, shared pool",
            Self::Other => "the other build",
        }
    }

    /// As `run_tasks` and namespaces call it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Crd => "crd",
            Self::CrdOnly => "crd-only",
            Self::Job => "job",
            Self::Operator | Self::Other => "operator",
            Self::Pool => "pool",
        }
    }

    /// In the names of values.
    pub(super) fn key(self) -> &'static str {
        match self {
            Self::Plain => "floor_plain",
            Self::Crd => "floor_crd",
            Self::CrdOnly => "floor_crd_only",
            Self::Job => "job",
            Self::Operator => "operator",
            Self::Pool => "pool",
            Self::Other => "other",
        }
    }

    pub(super) fn is_operator(self) -> bool {
        matches!(self, Self::Operator | Self::Pool | Self::Other)
    }

    pub(super) fn namespace(self) -> String {
        format!("bench-{}", self.name())
    }
}
