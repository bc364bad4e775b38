//! Reasons of the condition of a PeonTemplate.

use super::reasons;

reasons! {
    /// Reasons of `Ready` of a PeonTemplate.
    TemplateReadiness {
        /// Tasks can use the template.
        Valid = "Valid": READY = True, Change;
        /// No task can use the template as it is; the message names the setting.
        InvalidTemplate = "InvalidTemplate": READY = False, Change;
        /// The JVM does not fit the memory limit: tasks that change neither cannot use the template.
        InvalidSizing = "InvalidSizing": READY = False, Change;
    }
}
