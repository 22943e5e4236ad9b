// SPDX-License-Identifier: (GPL-2.0 OR BSD-2-Clause)
/*
 * open: files that the target opens or fails to open. Arguments are saved at the entry of
 * the syscall. The path is read at its exit, because then the kernel has paged it in. For
 * a relative path, the directory that it starts from is part of the event: later, nobody
 * could tell.
 */
#include "gadget.h"
#include "syscall.h"

#define PATH_LEN 256
#define DIR_LEN 256
#define NAME_MAX 255
#define MAX_DEPTH 24 /* directories of a path */

#if defined(__TARGET_ARCH_x86)
#define NR_OPEN 2
#define NR_CREAT 85
#define NR_OPENAT 257
#define NR_COMPAT_OPENAT 295
#else
#define NR_OPENAT 56
#define NR_COMPAT_OPENAT 322
#endif
#define NR_OPENAT2 437 /* in all tables */
#define NR_COMPAT_OPEN 5
#define NR_COMPAT_CREAT 8

#define AT_FDCWD -100
#define RESOLVE_IN_ROOT 0x10
#define CREAT_FLAGS (01 | 0100 | 01000) /* O_WRONLY|O_CREAT|O_TRUNC */

struct open_event {
	__u64 time; /* ns, monotonic */
	__u64 took; /* ns */
	__u32 pid;
	__u32 tid;
	__s32 ret; /* file descriptor, or negative errno */
	__u32 flags;
	__u32 compat;  /* 1: a call of the 32-bit table */
	__u32 dir_at;  /* the directory is in dir from here on; DIR_LEN: there is none */
	__u32 dir_cut; /* 1: more directories are before it */
	__u32 pad;
	char comm[COMM_LEN];
	char path[PATH_LEN];
	char dir[2 * DIR_LEN]; /* up to DIR_LEN; the rest is room for the verifier */
};
const struct open_event *unused_open_event __attribute__((unused));

struct pending {
	__u64 time;
	__u64 path; /* address in user space */
	__u32 flags;
	__s32 dirfd;
	__u32 compat;
	__u32 in_root; /* an absolute path too starts from dirfd */
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 10240);
	__type(key, __u64); /* kernel PID and TID */
	__type(value, struct pending);
} calls SEC(".maps");

static __always_inline bool save_native(struct pending *call, const struct registers *regs, __u64 nr)
{
	switch (nr) {
#ifdef NR_OPEN
	case NR_OPEN:
		call->path = argument(regs, 0, false);
		call->flags = argument(regs, 1, false);
		return true;
	case NR_CREAT:
		call->path = argument(regs, 0, false);
		call->flags = CREAT_FLAGS;
		return true;
#endif
	case NR_OPENAT:
		call->dirfd = argument(regs, 0, false);
		call->path = argument(regs, 1, false);
		call->flags = argument(regs, 2, false);
		return true;
	}
	return false;
}

static __always_inline bool save_compat(struct pending *call, const struct registers *regs, __u64 nr)
{
	switch (nr) {
	case NR_COMPAT_OPEN:
		call->path = argument(regs, 0, true);
		call->flags = argument(regs, 1, true);
		return true;
	case NR_COMPAT_CREAT:
		call->path = argument(regs, 0, true);
		call->flags = CREAT_FLAGS;
		return true;
	case NR_COMPAT_OPENAT:
		call->dirfd = argument(regs, 0, true);
		call->path = argument(regs, 1, true);
		call->flags = argument(regs, 2, true);
		return true;
	}
	return false;
}

static __always_inline bool may_open(__u64 nr)
{
	switch (nr) {
#ifdef NR_OPEN
	case NR_OPEN:
	case NR_CREAT:
#endif
	case NR_OPENAT:
	case NR_OPENAT2:
	case NR_COMPAT_OPEN:
	case NR_COMPAT_CREAT:
	case NR_COMPAT_OPENAT:
		return true;
	}
	return false;
}

SEC("raw_tp/sys_enter")
int open_enter(struct raw_args *ctx)
{
	struct pending call = { .dirfd = AT_FDCWD };
	__u64 nr = ctx->args[1], id;
	struct registers regs;

	if (!may_open(nr) || !is_target())
		return 0;
	read_registers(&regs, (struct pt_regs *)ctx->args[0]);
	call.compat = is_compat();
	if (nr == NR_OPENAT2) {
		__u64 how[3] = {}; /* struct open_how: flags, mode, resolve */

		call.dirfd = argument(&regs, 0, call.compat);
		call.path = argument(&regs, 1, call.compat);
		bpf_probe_read_user(how, sizeof(how), (void *)argument(&regs, 2, call.compat));
		call.flags = how[0];
		call.in_root = (how[2] & RESOLVE_IN_ROOT) != 0;
	} else if (!(call.compat ? save_compat(&call, &regs, nr) : save_native(&call, &regs, nr))) {
		return 0;
	}
	call.time = bpf_ktime_get_ns();
	id = bpf_get_current_pid_tgid();
	if (bpf_map_update_elem(&calls, &id, &call, BPF_ANY))
		count(MISSED);
	return 0;
}

/* Writes the path of a directory to the end of the event's dir, as the current process
 * sees it. */
static __always_inline void save_dir(struct open_event *e, struct path *dir)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	struct dentry *root = BPF_CORE_READ(task, fs, root.dentry), *dentry = dir->dentry, *parent;
	struct vfsmount *root_mnt = BPF_CORE_READ(task, fs, root.mnt);
	struct mount *mnt = (void *)dir->mnt - bpf_core_field_offset(struct mount, mnt), *above;
	__u32 at = DIR_LEN, len;

	for (int i = 0; i < MAX_DEPTH; i++) {
		if (dentry == root && (void *)mnt + bpf_core_field_offset(struct mount, mnt) == (void *)root_mnt)
			break;
		if (dentry == BPF_CORE_READ(mnt, mnt.mnt_root)) {
			above = BPF_CORE_READ(mnt, mnt_parent);
			if (above == mnt)
				break;
			dentry = BPF_CORE_READ(mnt, mnt_mountpoint);
			mnt = above;
			continue;
		}
		parent = BPF_CORE_READ(dentry, d_parent);
		if (parent == dentry)
			break;
		len = BPF_CORE_READ(dentry, d_name.len) & NAME_MAX;
		if (len + 1 > at || i == MAX_DEPTH - 1) {
			e->dir_cut = 1;
			break;
		}
		at -= len + 1;
		at &= DIR_LEN - 1;
		e->dir[at] = '/';
		bpf_probe_read_kernel(&e->dir[at + 1], len, BPF_CORE_READ(dentry, d_name.name));
		dentry = parent;
	}
	if (at == DIR_LEN && !e->dir_cut) { /* the root itself */
		at--;
		e->dir[at] = '/';
	}
	e->dir_at = at;
}

static __always_inline void save_base(struct open_event *e, __s32 dirfd)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	struct path dir = {};

	if (dirfd == AT_FDCWD) {
		dir.mnt = BPF_CORE_READ(task, fs, pwd.mnt);
		dir.dentry = BPF_CORE_READ(task, fs, pwd.dentry);
	} else {
		struct file *file = file_of(dirfd);

		if (!file)
			return;
		dir.mnt = BPF_CORE_READ(file, f_path.mnt);
		dir.dentry = BPF_CORE_READ(file, f_path.dentry);
	}
	if (dir.dentry && dir.mnt)
		save_dir(e, &dir);
}

SEC("raw_tp/sys_exit")
int open_exit(struct raw_args *ctx)
{
	__u64 id = bpf_get_current_pid_tgid();
	struct pending *call = bpf_map_lookup_elem(&calls, &id);
	struct open_event *e;

	if (!call)
		return 0;
	e = reserve(sizeof(*e));
	if (e) {
		e->time = bpf_ktime_get_ns();
		e->took = e->time - call->time;
		e->ret = ctx->args[1];
		e->flags = call->flags;
		e->compat = call->compat;
		e->dir_at = DIR_LEN;
		e->dir_cut = 0;
		e->pad = 0;
		current_pid(&e->pid, &e->tid);
		bpf_get_current_comm(e->comm, sizeof(e->comm));
		if (bpf_probe_read_user_str(e->path, sizeof(e->path), (void *)call->path) < 0)
			e->path[0] = 0;
		if (e->path[0] != '/' || call->in_root)
			save_base(e, call->dirfd);
		submit(e, sizeof(*e));
	}
	bpf_map_delete_elem(&calls, &id);
	return 0;
}
