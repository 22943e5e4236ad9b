package reason

// Forced is a refusal that --force made a warning.
type Forced struct{ Refused error }

func (f *Forced) Error() string { return "--force: " + f.Refused.Error() }

// Unwrap is the refusal.
func (f *Forced) Unwrap() error { return f.Refused }
