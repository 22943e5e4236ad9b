// Package pcapng writes captured packets in the pcapng format, as Wireshark reads it (draft-ietf-opsawg-pcapng).
package pcapng

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"time"
)

// Types of blocks.
const (
	blockSection    = 0x0a0d0d0a
	blockInterface  = 1
	blockStatistics = 5
	blockPacket     = 6
)

// Options of blocks. Each kind of block has its own numbers; comments are the same in all.
const (
	optionEnd              = 0
	optionComment          = 1
	sectionApplication     = 4
	interfaceName          = 2
	interfaceResolution    = 9
	interfaceFilter        = 11
	packetFlags            = 2
	statisticsReceived     = 4
	statisticsDropped      = 5
	statisticsDelivered    = 8
	byteOrder              = 0x1a2b3c4d
	nanoseconds            = 9 // of interfaceResolution: 10^-9 s
	ethernet               = 1 // link type
	longestOption          = math.MaxUint16
	filterIsText           = 0 // first byte of interfaceFilter
	sectionOfUnknownLength = math.MaxUint64
)

// MaxSnaplen is the most bytes that a capture may keep of a packet, as tcpdump has it.
const MaxSnaplen = 262144

// Direction is where a packet went.
type Direction uint32

// Directions, as the flags of a packet have them.
const (
	Unknown Direction = iota
	Inbound
	Outbound
)

// Interface describes where packets were captured. Their frames are Ethernet's.
type Interface struct {
	Name    string
	Filter  string // as the user gave it, "" for none
	Snaplen uint32 // most bytes that are kept of a packet
}

// Packet is a captured frame.
type Packet struct {
	Interface int       // index of an interface, in the order of AddInterface
	Time      time.Time // when the kernel saw it
	Data      []byte    // what was kept of it
	Length    int       // bytes that it had
	Direction Direction
	Comment   string
}

// Statistics are what the kernel counted at an interface.
type Statistics struct {
	Received  uint64 `json:"received"`  // packets that passed the filter
	Dropped   uint64 `json:"dropped"`   // of these, packets for which the kernel had no room
	Delivered uint64 `json:"delivered"` // of these, packets that were written
}

// Writer writes blocks, each with one Write. It is not safe for concurrent use.
type Writer struct {
	out        io.Writer
	block      []byte
	interfaces int
}

// NewWriter writes the header of a section. application is the program that captures.
func NewWriter(out io.Writer, application string) (*Writer, error) {
	w := &Writer{out: out}
	w.begin(blockSection)
	w.block = binary.LittleEndian.AppendUint32(w.block, byteOrder)
	w.block = binary.LittleEndian.AppendUint16(w.block, 1) // version 1.0
	w.block = binary.LittleEndian.AppendUint16(w.block, 0)
	w.block = binary.LittleEndian.AppendUint64(w.block, sectionOfUnknownLength)
	w.option(sectionApplication, []byte(application))
	return w, w.end()
}

// AddInterface describes the next interface.
func (w *Writer) AddInterface(i Interface) error {
	w.begin(blockInterface)
	w.block = binary.LittleEndian.AppendUint16(w.block, ethernet)
	w.block = binary.LittleEndian.AppendUint16(w.block, 0) // reserved
	w.block = binary.LittleEndian.AppendUint32(w.block, i.Snaplen)
	w.option(interfaceName, []byte(i.Name))
	w.option(interfaceResolution, []byte{nanoseconds})
	if i.Filter != "" {
		w.option(interfaceFilter, append([]byte{filterIsText}, i.Filter...))
	}
	w.interfaces++
	return w.end()
}

// WritePacket writes a packet of an interface that was described.
func (w *Writer) WritePacket(p Packet) error {
	if p.Interface < 0 || p.Interface >= w.interfaces {
		return fmt.Errorf("pcapng: packet of interface %d of %d", p.Interface, w.interfaces)
	}
	w.begin(blockPacket)
	w.block = binary.LittleEndian.AppendUint32(w.block, uint32(p.Interface))
	w.time(p.Time)
	w.block = binary.LittleEndian.AppendUint32(w.block, uint32(len(p.Data)))
	w.block = binary.LittleEndian.AppendUint32(w.block, uint32(p.Length))
	w.block = append(w.block, p.Data...)
	w.pad()
	if p.Direction != Unknown {
		w.option(packetFlags, binary.LittleEndian.AppendUint32(nil, uint32(p.Direction)))
	}
	if p.Comment != "" {
		w.option(optionComment, []byte(p.Comment))
	}
	return w.end()
}

// WriteStatistics writes what was counted at an interface until now.
func (w *Writer) WriteStatistics(index int, at time.Time, s Statistics) error {
	w.begin(blockStatistics)
	w.block = binary.LittleEndian.AppendUint32(w.block, uint32(index))
	w.time(at)
	for option, n := range map[uint16]uint64{statisticsReceived: s.Received, statisticsDropped: s.Dropped, statisticsDelivered: s.Delivered} {
		w.option(option, binary.LittleEndian.AppendUint64(nil, n))
	}
	return w.end()
}

// begin begins a block; its length is not yet known.
func (w *Writer) begin(kind uint32) {
	w.block = binary.LittleEndian.AppendUint32(w.block[:0], kind)
	w.block = binary.LittleEndian.AppendUint32(w.block, 0)
}

// time appends a time, the upper half first, as the format demands in either byte order.
func (w *Writer) time(t time.Time) {
	ns := uint64(t.UnixNano())
	w.block = binary.LittleEndian.AppendUint32(w.block, uint32(ns>>32))
	w.block = binary.LittleEndian.AppendUint32(w.block, uint32(ns))
}

// option appends an option. A value that is too long is cut.
func (w *Writer) option(code uint16, value []byte) {
	value = value[:min(len(value), longestOption)]
	w.block = binary.LittleEndian.AppendUint16(w.block, code)
	w.block = binary.LittleEndian.AppendUint16(w.block, uint16(len(value)))
	w.block = append(w.block, value...)
	w.pad()
}

// pad fills up to a multiple of four bytes.
func (w *Writer) pad() {
	for len(w.block)%4 != 0 {
		w.block = append(w.block, 0)
	}
}

// end ends the options and the block, and writes it.
func (w *Writer) end() error {
	w.block = binary.LittleEndian.AppendUint32(w.block, optionEnd)
	length := uint32(len(w.block) + 4)
	w.block = binary.LittleEndian.AppendUint32(w.block, length)
	binary.LittleEndian.PutUint32(w.block[4:], length)
	_, err := w.out.Write(w.block)
	return err
}
