package capture

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/osc-debug/osc-debug/pkg/trace/pcapng"
)

// Size of a ring that the kernel shares with this process: blocks, each with as many packets as fit. The kernel hands a block
// over when it is full, or after blockTimeout.
const (
	blockSize    = 256 << 10 // bytes; a packet is never longer
	blocks       = 64        // 16 MiB: a second of 50,000 packets of 250 bytes
	blockTimeout = 50 * time.Millisecond
)

// ring is a packet socket (AF_PACKET) at one interface, with a ring of version 3 (packet_mmap in the kernel's documentation).
type ring struct {
	index    int // of the interface in the capture
	socket   int
	memory   []byte
	next     int  // block that the kernel fills next
	loopback bool // the interface shows each packet twice: as it goes and as it comes
	counted  pcapng.Statistics
}

// openRing opens a ring at an interface, for packets that pass the filter. None that came before is in it.
func openRing(index int, i net.Interface, filter []unix.SockFilter) (*ring, error) {
	socket, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0) // protocol 0: nothing arrives before bind
	if err != nil {
		return nil, fmt.Errorf("open a packet socket: %w", err)
	}
	r := &ring{index: index, socket: socket, loopback: i.Flags&net.FlagLoopback != 0}
	if err := r.prepare(i, filter); err != nil {
		return nil, errors.Join(fmt.Errorf("interface %s: %w", i.Name, err), r.close())
	}
	return r, nil
}

func (r *ring) prepare(i net.Interface, filter []unix.SockFilter) error {
	if err := r.setFilter(filter); err != nil {
		return err
	}
	if err := unix.SetsockoptInt(r.socket, unix.SOL_PACKET, unix.PACKET_VERSION, unix.TPACKET_V3); err != nil {
		return fmt.Errorf("set the ring's version: %w", err)
	}
	request := unix.TpacketReq3{
		Block_size: blockSize, Block_nr: blocks, Frame_size: unix.SizeofTpacket3Hdr * 2, Frame_nr: blockSize / (unix.SizeofTpacket3Hdr * 2) * blocks,
		Retire_blk_tov: uint32(blockTimeout.Milliseconds()),
	}
	if err := unix.SetsockoptTpacketReq3(r.socket, unix.SOL_PACKET, unix.PACKET_RX_RING, &request); err != nil {
		return fmt.Errorf("set up the ring: %w", err)
	}
	var err error
	if r.memory, err = unix.Mmap(r.socket, 0, blockSize*blocks, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err != nil {
		return fmt.Errorf("map the ring: %w", err)
	}
	if r.loopback {
		if err := unix.SetsockoptInt(r.socket, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1); err != nil {
			return fmt.Errorf("ignore the packets that a loopback shows twice (Linux 4.20 can): %w", err)
		}
	}
	if err := unix.Bind(r.socket, &unix.SockaddrLinklayer{Protocol: networkOrder(unix.ETH_P_ALL), Ifindex: i.Index}); err != nil {
		return fmt.Errorf("bind: %w", err)
	}
	return nil
}

// setFilter sets which packets come into the ring.
func (r *ring) setFilter(filter []unix.SockFilter) error {
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if err := unix.SetsockoptSockFprog(r.socket, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &program); err != nil {
		return fmt.Errorf("attach the filter: %w", err)
	}
	return nil
}

// read passes the packets of the next block to handle, and gives the block back to the kernel. It returns false if no block
// is ready. A packet's data is valid until handle returns.
func (r *ring) read(handle func(pcapng.Packet) error) (bool, error) {
	block := r.memory[r.next*blockSize : (r.next+1)*blockSize]
	header := (*unix.TpacketHdrV1)(unsafe.Pointer(&block[unsafe.Offsetof(unix.TpacketBlockDesc{}.Hdr)]))
	if atomic.LoadUint32(&header.Block_status)&unix.TP_STATUS_USER == 0 {
		return false, nil
	}
	offset := header.Offset_to_first_pkt
	var failed error
	for range header.Num_pkts {
		p := (*unix.Tpacket3Hdr)(unsafe.Pointer(&block[offset]))
		if failed == nil {
			failed = r.handle(block[offset:], p, handle)
		}
		offset += p.Next_offset
	}
	atomic.StoreUint32(&header.Block_status, unix.TP_STATUS_KERNEL)
	r.next = (r.next + 1) % blocks
	return true, failed
}

// handle passes one packet to handle. memory begins with its header.
func (r *ring) handle(memory []byte, p *unix.Tpacket3Hdr, handle func(pcapng.Packet) error) error {
	address := (*unix.RawSockaddrLinklayer)(unsafe.Pointer(&memory[unix.SizeofTpacket3Hdr]))
	direction := pcapng.Inbound
	if address.Pkttype == unix.PACKET_OUTGOING {
		direction = pcapng.Outbound
	}
	data := memory[p.Mac : uint32(p.Mac)+p.Snaplen]
	length := int(p.Len)
	if p.Status&unix.TP_STATUS_VLAN_VALID != 0 {
		kind := uint16(unix.ETH_P_8021Q)
		if p.Status&unix.TP_STATUS_VLAN_TPID_VALID != 0 {
			kind = p.Hv1.Vlan_tpid
		}
		data, length = withTag(data, kind, uint16(p.Hv1.Vlan_tci)), length+tagLength
	}
	r.counted.Delivered++
	return handle(pcapng.Packet{Interface: r.index, Time: time.Unix(int64(p.Sec), int64(p.Nsec)), Data: data, Length: length, Direction: direction})
}

// statistics returns what was counted until now.
func (r *ring) statistics() (pcapng.Statistics, error) {
	now, err := unix.GetsockoptTpacketStatsV3(r.socket, unix.SOL_PACKET, unix.PACKET_STATISTICS) // since the last call
	if err != nil {
		return r.counted, fmt.Errorf("read the ring's statistics: %w", err)
	}
	r.counted.Received += uint64(now.Packets)
	r.counted.Dropped += uint64(now.Drops)
	return r.counted, nil
}

func (r *ring) close() error {
	var failed error
	if r.memory != nil {
		failed = os.NewSyscallError("munmap", unix.Munmap(r.memory))
	}
	return errors.Join(failed, os.NewSyscallError("close", unix.Close(r.socket)))
}

// networkOrder returns a number as it is in a packet, for fields that the kernel does not convert.
func networkOrder(n uint16) uint16 {
	return binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, n))
}
