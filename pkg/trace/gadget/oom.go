package gadget

import "fmt"

var oomGadget = Gadget{
	Name: "oom", Help: "processes killed because memory ran out",
	New: func() Payload { return &OOM{} },
}

// OOM is a process that the kernel kills because memory ran out. The event's process is the victim.
type OOM struct {
	By    uint32 `json:"by" help:"process that needed memory, as the sandbox numbers it; 0 if it is outside"`
	Needy string `json:"needy" help:"name of the thread that needed memory"`
	Score int32  `json:"score" help:"oom_score_adj of the victim"`
}

// Show implements Payload.
func (o *OOM) Show() (name, detail string) {
	return oomGadget.Name, fmt.Sprintf("killed: %s (%d) needed memory; score adjustment %d", o.Needy, o.By, o.Score)
}

// Key implements Payload.
func (o *OOM) Key() string { return "needed by " + o.Needy }

// Failed implements Payload.
func (*OOM) Failed() string { return "OOM" }
