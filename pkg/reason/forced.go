package reason

// Forced is a refusal that --force turned into a warning.
type Forced struct{ Refused error }

// Error returns the refusal's message after "--force: ".
func (f *Forced) Error() string { return "--force: " + f.Refused.Error() }

// Unwrap returns the refusal.
func (f *Forced) Unwrap() error { return f.Refused }
