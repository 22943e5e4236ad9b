// SPDX-License-Identifier: (GPL-2.0 OR BSD-2-Clause)
/*
 * tcp: connections that the target opens, accepts and closes, with the resets and
 * retransmissions of each. State changes often run in a softirq, where the current process
 * is unrelated. So the owner of an outgoing connection is saved at SYN_SENT, and that of an
 * incoming one when a process accepts it: who listens need not be who accepts.
 */
#include "gadget.h"
#include "syscall.h"

#define AF_INET 2
#define AF_INET6 10

#if defined(__TARGET_ARCH_x86)
#define NR_ACCEPT 43
#define NR_ACCEPT4 288
#else
#define NR_ACCEPT 202
#define NR_ACCEPT4 242
#endif
#if defined(__TARGET_ARCH_x86)
#define NR_COMPAT_SOCKETCALL 102 /* its first argument says which call */
#define SOCKETCALL_ACCEPT 5
#define SOCKETCALL_ACCEPT4 18
#define NR_COMPAT_ACCEPT4 364
#else
#define NR_COMPAT_ACCEPT 285
#define NR_COMPAT_ACCEPT4 366
#endif

enum { ESTABLISHED = 1, SYN_SENT = 2, SYN_RECV = 3, FIN_WAIT2 = 5, TIME_WAIT = 6, CLOSE = 7, LAST_ACK = 9, LISTEN = 10, CLOSING = 11 };
enum { SOCK_DONE = 1 }; /* bit of skc_flags: the peer sent its FIN */
enum { OP_CONNECT = 1, OP_ACCEPT = 2, OP_CLOSE = 3, OP_RESET_SENT = 4, OP_RESET_RECEIVED = 5, OP_RETRANSMIT = 6 };

struct owner {
	__u32 pid;
	__u32 tid;
	char comm[COMM_LEN];
};

struct tcp_event {
	__u64 time;     /* ns, monotonic */
	__u64 took;     /* ns: of the handshake for connect, in the backlog for accept, else of the connection */
	__u64 sent;     /* bytes that the peer acknowledged, at close */
	__u64 received; /* bytes, at close */
	__u32 pid;
	__u32 tid;
	__u16 op;
	__u16 family;
	__u16 local_port;
	__u16 remote_port;
	__s32 error;         /* errno of a failed connect */
	__u32 rtt;           /* us, smoothed, at close */
	__u32 retransmitted; /* segments, at close */
	__s32 reason;        /* of a reset that was sent, as the kernel numbers it; -1: unknown */
	__u8 local[16];
	__u8 remote[16];
	char comm[COMM_LEN];
};
const struct tcp_event *unused_tcp_event __attribute__((unused));

struct connection {
	struct owner owner;
	__u64 begin;
	__u64 established;
	__u64 acked;      /* bytes_acked when established: the SYN */
	__u16 local_port; /* the socket clears it before it closes */
	bool owned;       /* by the target */
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, __u64); /* address of the struct sock */
	__type(value, struct connection);
} connections SEC(".maps");

/* Connections that were closed last: the kernel closes one that a program resets, and only
 * then sends the reset. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, __u64);
	__type(value, struct connection);
} closed SEC(".maps");

static __always_inline void current_owner(struct owner *o)
{
	current_pid(&o->pid, &o->tid);
	bpf_get_current_comm(o->comm, sizeof(o->comm));
}

static __always_inline bool is_target_net(struct sock *sk)
{
	return BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum) == target_net_ns;
}

static __always_inline struct tcp_event *describe(struct sock *sk, struct connection *c, __u16 op, __u64 now)
{
	struct tcp_event *e = reserve(sizeof(*e));

	if (!e)
		return NULL;
	__builtin_memset(e, 0, sizeof(*e));
	e->time = now;
	e->took = now - (op != OP_CONNECT && c->established ? c->established : c->begin);
	e->op = op;
	e->reason = -1;
	e->pid = c->owner.pid;
	e->tid = c->owner.tid;
	__builtin_memcpy(e->comm, c->owner.comm, sizeof(e->comm));
	e->family = BPF_CORE_READ(sk, __sk_common.skc_family);
	e->local_port = c->local_port;
	e->remote_port = bpf_ntohs(BPF_CORE_READ(sk, __sk_common.skc_dport));
	if (e->family == AF_INET) {
		__be32 local = BPF_CORE_READ(sk, __sk_common.skc_rcv_saddr);
		__be32 remote = BPF_CORE_READ(sk, __sk_common.skc_daddr);

		__builtin_memcpy(e->local, &local, sizeof(local));
		__builtin_memcpy(e->remote, &remote, sizeof(remote));
	} else {
		BPF_CORE_READ_INTO(&e->local, sk, __sk_common.skc_v6_rcv_saddr);
		BPF_CORE_READ_INTO(&e->remote, sk, __sk_common.skc_v6_daddr);
	}
	return e;
}

static __always_inline void emit_connect(struct sock *sk, struct connection *c, __u64 now)
{
	struct tcp_event *e = describe(sk, c, OP_CONNECT, now);

	if (!e)
		return;
	e->error = BPF_CORE_READ(sk, sk_err);
	submit(e, sizeof(*e));
}

static __always_inline void emit_close(struct sock *sk, struct connection *c, int old, __u64 now)
{
	struct tcp_sock *tp = (struct tcp_sock *)sk;
	/* The kernel counts sequence numbers, of which SYN and FIN take one each. */
	bool fin_acked = old == FIN_WAIT2 || old == TIME_WAIT || old == LAST_ACK || old == CLOSING;
	bool fin_came = BPF_CORE_READ(sk, __sk_common.skc_flags) & (1UL << SOCK_DONE);
	struct tcp_event *e = describe(sk, c, OP_CLOSE, now);

	if (!e)
		return;
	e->sent = BPF_CORE_READ(tp, bytes_acked) - c->acked;
	if (fin_acked && e->sent)
		e->sent--;
	e->received = BPF_CORE_READ(tp, bytes_received);
	if (fin_came && e->received)
		e->received--;
	e->rtt = BPF_CORE_READ(tp, srtt_us) >> 3;
	e->retransmitted = BPF_CORE_READ(tp, total_retrans);
	submit(e, sizeof(*e));
}

SEC("raw_tp/inet_sock_set_state")
int tcp_state(struct raw_args *ctx)
{
	struct sock *sk = (struct sock *)ctx->args[0];
	int old = ctx->args[1], new = ctx->args[2];
	__u64 key = (__u64)sk, now = bpf_ktime_get_ns();
	struct connection fresh = { .begin = now };
	struct connection *c;

	if (!is_target_net(sk))
		return 0;
	switch (new) {
	case LISTEN: /* the kernel uses the memory of closed sockets again */
		bpf_map_delete_elem(&connections, &key);
		bpf_map_delete_elem(&closed, &key);
		return 0;
	case SYN_SENT:
		bpf_map_delete_elem(&connections, &key);
		bpf_map_delete_elem(&closed, &key);
		if (!is_target())
			return 0;
		fresh.local_port = BPF_CORE_READ(sk, __sk_common.skc_num);
		fresh.owned = true;
		current_owner(&fresh.owner);
		if (bpf_map_update_elem(&connections, &key, &fresh, BPF_ANY))
			count(MISSED);
		return 0;
	case ESTABLISHED:
		if (old == SYN_RECV) { /* nobody has accepted it yet */
			fresh.established = now;
			fresh.local_port = BPF_CORE_READ(sk, __sk_common.skc_num);
			bpf_map_delete_elem(&closed, &key);
			if (bpf_map_update_elem(&connections, &key, &fresh, BPF_ANY))
				count(MISSED);
			return 0;
		}
		c = bpf_map_lookup_elem(&connections, &key);
		if (c) {
			c->established = now;
			c->local_port = BPF_CORE_READ(sk, __sk_common.skc_num);
			c->acked = BPF_CORE_READ((struct tcp_sock *)sk, bytes_acked);
			emit_connect(sk, c, now);
		}
		return 0;
	case CLOSE:
		c = bpf_map_lookup_elem(&connections, &key);
		if (!c)
			return 0;
		if (c->owned && old == SYN_SENT) {
			emit_connect(sk, c, now);
		} else if (c->owned) {
			emit_close(sk, c, old, now);
			bpf_map_update_elem(&closed, &key, c, BPF_ANY);
		}
		bpf_map_delete_elem(&connections, &key);
		return 0;
	}
	return 0;
}

/* Whether the call that ends now is one that accepts connections. */
static __always_inline bool accepts(struct pt_regs *regs)
{
	__u64 nr = call_number(regs);

	switch (nr) {
	case NR_ACCEPT:
	case NR_ACCEPT4:
		return !is_compat();
#if defined(__TARGET_ARCH_x86)
	case NR_COMPAT_SOCKETCALL: {
		__u64 call = BPF_CORE_READ(regs, bx);

		return is_compat() && (call == SOCKETCALL_ACCEPT || call == SOCKETCALL_ACCEPT4);
	}
#else
	case NR_COMPAT_ACCEPT:
#endif
	case NR_COMPAT_ACCEPT4:
		return is_compat();
	}
	return false;
}

SEC("raw_tp/sys_exit")
int tcp_accepted(struct raw_args *ctx)
{
	__s64 fd = ctx->args[1];
	__u64 now, key;
	struct connection fresh = {}, *c;
	struct tcp_event *e;
	struct socket *socket;
	struct file *file;
	struct sock *sk;

	if (fd < 0 || !accepts((struct pt_regs *)ctx->args[0]))
		return 0;
	file = file_of(fd);
	if (!file)
		return 0;
	socket = BPF_CORE_READ(file, private_data);
	sk = BPF_CORE_READ(socket, sk);
	if (!sk || !is_target_net(sk))
		return 0;
	key = (__u64)sk;
	if (!is_target()) {
		bpf_map_delete_elem(&connections, &key);
		return 0;
	}
	now = bpf_ktime_get_ns();
	c = bpf_map_lookup_elem(&connections, &key);
	if (!c) { /* established before the programs were attached */
		__u16 family = BPF_CORE_READ(sk, __sk_common.skc_family);

		if (family != AF_INET && family != AF_INET6)
			return 0;
		fresh.begin = fresh.established = now;
		fresh.local_port = BPF_CORE_READ(sk, __sk_common.skc_num);
		if (bpf_map_update_elem(&connections, &key, &fresh, BPF_ANY)) {
			count(MISSED); /* its close will not be seen */
			return 0;
		}
		c = bpf_map_lookup_elem(&connections, &key);
		if (!c)
			return 0;
	}
	current_owner(&c->owner);
	c->owned = true;
	e = describe(sk, c, OP_ACCEPT, now);
	if (e)
		submit(e, sizeof(*e));
	return 0;
}

static __always_inline int emit_of(struct sock *sk, __u16 op, int reason)
{
	__u64 key = (__u64)sk;
	bool was_closed = false;
	struct connection *c;
	struct tcp_event *e;

	if (!sk)
		return 0;
	c = bpf_map_lookup_elem(&connections, &key);
	if (!c && op == OP_RESET_SENT) {
		c = bpf_map_lookup_elem(&closed, &key);
		was_closed = true;
	}
	if (!c || !c->owned)
		return 0;
	e = describe(sk, c, op, bpf_ktime_get_ns());
	if (e) {
		e->reason = reason;
		submit(e, sizeof(*e));
	}
	if (was_closed)
		bpf_map_delete_elem(&closed, &key);
	return 0;
}

/* Whether tracepoint tcp_send_reset has the reason as third argument. */
volatile const bool reset_has_reason = false;

SEC("raw_tp/tcp_send_reset")
int tcp_reset_sent(struct raw_args *ctx)
{
	return emit_of((struct sock *)ctx->args[0], OP_RESET_SENT, reset_has_reason ? (int)ctx->args[2] : -1);
}

SEC("raw_tp/tcp_receive_reset")
int tcp_reset_received(struct raw_args *ctx)
{
	return emit_of((struct sock *)ctx->args[0], OP_RESET_RECEIVED, -1);
}

SEC("raw_tp/tcp_retransmit_skb")
int tcp_retransmitted(struct raw_args *ctx)
{
	return emit_of((struct sock *)ctx->args[0], OP_RETRANSMIT, -1);
}
