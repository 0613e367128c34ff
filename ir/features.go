package ir

// Feature names something of the flow language that a target may or may not be able to do.
type Feature string

// The features, named as in diagnostics.
const (
	FeatureSplit         Feature = "static-split"
	FeatureForeach       Feature = "foreach"
	FeatureNestedForeach Feature = "nested-foreach"
	FeatureForeachBody   Feature = "foreach-body-of-several-steps"
	FeatureSwitch        Feature = "switch"
	FeatureRecursion     Feature = "recursion"
	FeatureParallel      Feature = "num-parallel"
	FeatureSplitInBody   Feature = "static-split-inside-foreach"
	FeatureRetry         Feature = "retry"
	FeatureCatch         Feature = "catch"
	FeatureTimeout       Feature = "timeout"
	FeatureSchedule      Feature = "schedule"
	FeatureTimezone      Feature = "schedule-timezone"
	FeatureTrigger       Feature = "trigger"
	FeatureTriggerFinish Feature = "trigger-on-finish"
	FeatureExitHook      Feature = "exit-hook"
	FeatureGPU           Feature = "gpu"
)

// Limit says why a target cannot do something, and what the user can do about it.
type Limit struct {
	// Reason is a clause that completes "step x uses a switch, but <target> …".
	Reason string
	// WayOut is a sentence that says what to do.
	WayOut string
}

// Features is what a target can do. The compiler asks it, never which target it is.
type Features struct {
	// Target is the name that the user gave, such as "argo".
	Target string
	// Missing lists what the target cannot do; everything else it can.
	Missing map[Feature]Limit
	// Decorators lists decorators (step or flow) that the target refuses.
	Decorators map[string]Limit
	// ParameterDefaults is set when every parameter needs a default.
	ParameterDefaults bool
	// MaxFlowName and MaxStepName are the longest names, in bytes, after the target's own mangling; 0 is no limit.
	MaxFlowName int
	MaxStepName int
	// MaxSplits is the widest foreach that is known to work; 0 is no limit. A wider one is only known at run time
	// unless the source says its size.
	MaxSplits int
	// MinTimeoutSeconds is the shortest timeout; 0 is no limit.
	MinTimeoutSeconds int
	// MaxRetries is the most retries of one task; 0 is no limit.
	MaxRetries int
	// CronFields is the number of fields of the cron dialect that the target reads (5 or 6); 0 is any.
	CronFields int
	// MaxParameterBytes bounds the text of all parameters together; 0 is no limit.
	MaxParameterBytes int
}

// Can reports whether the target can do f, and if not, why.
func (f Features) Can(feature Feature) (Limit, bool) {
	l, missing := f.Missing[feature]
	return l, !missing
}
