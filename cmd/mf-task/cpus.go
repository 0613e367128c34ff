package main

import goruntime "runtime"

// cpus is the number of tasks that run at a time.
func cpus() int { return max(1, goruntime.GOMAXPROCS(0)) }
