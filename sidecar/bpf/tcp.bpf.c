// SPDX-License-Identifier: (GPL-2.0 OR BSD-2-Clause)
/*
 * tcp: connections that the target opens, accepts and closes. State changes often run in
 * a softirq, where the current process is unrelated. So the owner of an outgoing connection
 * is saved at SYN_SENT; an incoming one belongs to the process that listens on its port.
 */
#include "gadget.h"

#define AF_INET 2
#define AF_INET6 10

enum { ESTABLISHED = 1, SYN_SENT = 2, SYN_RECV = 3, FIN_WAIT2 = 5, TIME_WAIT = 6, CLOSE = 7, LAST_ACK = 9, LISTEN = 10, CLOSING = 11 };
enum { SOCK_DONE = 1 }; /* bit of skc_flags: the peer sent its FIN */
enum { OP_CONNECT = 1, OP_ACCEPT = 2, OP_CLOSE = 3 };

struct owner {
	__u32 pid;
	__u32 tid;
	char comm[COMM_LEN];
};

struct tcp_event {
	__u64 time;     /* ns, monotonic */
	__u64 took;     /* ns: of the handshake for connect, of the connection for close */
	__u64 sent;     /* bytes that the peer acknowledged, at close */
	__u64 received; /* bytes, at close */
	__u32 pid;
	__u32 tid;
	__u16 op;
	__u16 family;
	__u16 local_port;
	__u16 remote_port;
	__s32 error; /* errno of a failed connect */
	__u8 local[16];
	__u8 remote[16];
	char comm[COMM_LEN];
	__u32 pad;
};
const struct tcp_event *unused_tcp_event __attribute__((unused));

struct connection {
	struct owner owner;
	__u64 begin;
	__u64 established;
	__u64 acked;      /* bytes_acked when established: the SYN */
	__u16 local_port; /* the socket clears it before it closes */
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, __u64); /* address of the struct sock */
	__type(value, struct connection);
} connections SEC(".maps");

/* The process of the target that listens on each port. The tracer adds those that
 * listened before it started. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u16);
	__type(value, struct owner);
} listeners SEC(".maps");

static __always_inline void current_owner(struct owner *o)
{
	current_pid(&o->pid, &o->tid);
	bpf_get_current_comm(o->comm, sizeof(o->comm));
}

static __always_inline void emit(struct sock *sk, struct connection *c, __u16 op, int old, __u64 now)
{
	struct tcp_event *e = reserve(sizeof(*e));

	if (!e)
		return;
	__builtin_memset(e, 0, sizeof(*e));
	e->time = now;
	e->took = now - (op == OP_CLOSE && c->established ? c->established : c->begin);
	e->op = op;
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
	if (op == OP_CLOSE) {
		struct tcp_sock *tp = (struct tcp_sock *)sk;

		/* The kernel counts sequence numbers, of which SYN and FIN take one each. */
		bool fin_acked = old == FIN_WAIT2 || old == TIME_WAIT || old == LAST_ACK || old == CLOSING;
		bool fin_came = BPF_CORE_READ(sk, __sk_common.skc_flags) & (1UL << SOCK_DONE);

		e->sent = BPF_CORE_READ(tp, bytes_acked) - c->acked;
		if (fin_acked && e->sent)
			e->sent--;
		e->received = BPF_CORE_READ(tp, bytes_received);
		if (fin_came && e->received)
			e->received--;
	} else {
		e->error = BPF_CORE_READ(sk, sk_err);
	}
	submit(e);
}

SEC("raw_tp/inet_sock_set_state")
int tcp_state(struct raw_args *ctx)
{
	struct sock *sk = (struct sock *)ctx->args[0];
	int old = ctx->args[1], new = ctx->args[2];
	__u64 key = (__u64)sk, now = bpf_ktime_get_ns();
	struct connection *c;
	__u16 port;

	if (BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum) != target_net_ns)
		return 0;
	switch (new) {
	case LISTEN:
		if (is_target()) {
			struct owner o = {};

			port = BPF_CORE_READ(sk, __sk_common.skc_num);
			current_owner(&o);
			bpf_map_update_elem(&listeners, &port, &o, BPF_ANY);
		}
		return 0;
	case SYN_SENT:
		if (is_target()) {
			struct connection fresh = { .begin = now };

			fresh.local_port = BPF_CORE_READ(sk, __sk_common.skc_num);
			current_owner(&fresh.owner);
			bpf_map_update_elem(&connections, &key, &fresh, BPF_ANY);
		}
		return 0;
	case ESTABLISHED:
		if (old == SYN_RECV) {
			struct connection fresh = { .begin = now, .established = now };
			struct owner *o;

			port = BPF_CORE_READ(sk, __sk_common.skc_num);
			o = bpf_map_lookup_elem(&listeners, &port);
			if (!o)
				return 0;
			fresh.owner = *o;
			fresh.local_port = port;
			bpf_map_update_elem(&connections, &key, &fresh, BPF_ANY);
			emit(sk, &fresh, OP_ACCEPT, old, now);
			return 0;
		}
		c = bpf_map_lookup_elem(&connections, &key);
		if (c) {
			c->established = now;
			c->local_port = BPF_CORE_READ(sk, __sk_common.skc_num);
			c->acked = BPF_CORE_READ((struct tcp_sock *)sk, bytes_acked);
			emit(sk, c, OP_CONNECT, old, now);
		}
		return 0;
	case CLOSE:
		if (old == LISTEN) {
			port = BPF_CORE_READ(sk, __sk_common.skc_num);
			bpf_map_delete_elem(&listeners, &port);
			return 0;
		}
		c = bpf_map_lookup_elem(&connections, &key);
		if (c) {
			emit(sk, c, old == SYN_SENT ? OP_CONNECT : OP_CLOSE, old, now);
			bpf_map_delete_elem(&connections, &key);
		}
		return 0;
	}
	return 0;
}
