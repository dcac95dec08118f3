// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package seccomp

import "github.com/opencontainers/runtime-spec/specs-go"

// Group is a set of system calls that are allowed, or kept from the sandbox,
// for one reason.
type Group struct {
	Topic  string
	Reason string
	// Names are system calls; those that an architecture lacks do no harm.
	Names []string
	// Caps are capabilities, any of which the sandbox must have for the group
	// to be allowed. None: always.
	Caps []string
	// Arches restricts the group to some of GOARCH's values. None: all.
	Arches []string
	// Args are alternatives: the call is allowed when all conditions of one of
	// them hold. None: whatever the arguments.
	Args [][]specs.LinuxSeccompArg
	// Errno is what a removed call fails with; 0 stands for EPERM.
	Errno uint
}

// Allowed returns what the default profile allows. The starting point is what
// docker's default profile does.
func Allowed() []Group {
	groups := append(fileGroups(), processGroups()...)
	groups = append(groups, kernelGroups()...)
	groups = append(groups, capabilityGroups()...)
	return append(groups, argumentGroups()...)
}

func fileGroups() []Group {
	return []Group{
		{
			Topic: "files", Reason: "opening and describing files; checked by ownership and mode",
			Names: []string{
				"access", "chdir", "chmod", "chown", "chown32", "close", "close_range", "creat", "dup", "dup2", "dup3",
				"faccessat", "faccessat2", "fchdir", "fchmod", "fchmodat", "fchmodat2", "fchown", "fchown32", "fchownat",
				"fcntl", "fcntl64", "flock", "fstat", "fstat64", "fstatat64", "fstatfs", "fstatfs64", "futimesat",
				"getcwd", "getdents", "getdents64", "lchown", "lchown32", "link", "linkat", "lstat", "lstat64", "mkdir",
				"mkdirat", "name_to_handle_at", "newfstatat", "open", "openat", "openat2", "readlink", "readlinkat",
				"rename", "renameat", "renameat2", "rmdir", "stat", "stat64", "statfs", "statfs64", "statx", "symlink",
				"symlinkat", "truncate", "truncate64", "umask", "unlink", "unlinkat", "utime", "utimensat",
				"utimensat_time64", "utimes", "listmount", "statmount",
			},
		},
		{
			Topic: "special files", Reason: "pipes and sockets in the file system; devices need a capability that is valid outside",
			Names: []string{"mknod", "mknodat"},
		},
		{
			Topic: "input and output", Reason: "reading, writing and waiting for descriptors the process has",
			Names: []string{
				"_llseek", "_newselect", "copy_file_range", "epoll_create", "epoll_create1", "epoll_ctl", "epoll_ctl_old",
				"epoll_pwait", "epoll_pwait2", "epoll_wait", "epoll_wait_old", "eventfd", "eventfd2", "fadvise64",
				"fadvise64_64", "fallocate", "fdatasync", "fsync", "ftruncate", "ftruncate64", "lseek", "pipe", "pipe2",
				"poll", "ppoll", "ppoll_time64", "pread64", "preadv", "preadv2", "pselect6", "pselect6_time64", "pwrite64",
				"pwritev", "pwritev2", "read", "readahead", "readv", "select", "sendfile", "sendfile64", "splice", "sync",
				"sync_file_range", "syncfs", "tee", "vmsplice", "write", "writev",
			},
		},
		{
			Topic: "file events", Reason: "watching files one may read; fanotify_init is not among them",
			Names: []string{"fanotify_mark", "inotify_add_watch", "inotify_init", "inotify_init1", "inotify_rm_watch"},
		},
		{
			Topic: "extended attributes", Reason: "user attributes; the others need capabilities that are valid outside",
			Names: []string{
				"fgetxattr", "flistxattr", "fremovexattr", "fsetxattr", "getxattr", "getxattrat", "lgetxattr", "listxattr",
				"listxattrat", "llistxattr", "lremovexattr", "lsetxattr", "removexattr", "removexattrat", "setxattr",
				"setxattrat",
			},
		},
		{
			Topic: "sockets", Reason: "use of sockets that socket or socketpair has granted",
			Names: []string{
				"accept", "accept4", "bind", "connect", "getpeername", "getsockname", "getsockopt", "listen", "recv",
				"recvfrom", "recvmmsg", "recvmmsg_time64", "recvmsg", "send", "sendmmsg", "sendmsg", "sendto",
				"setsockopt", "shutdown", "socketpair",
			},
		},
	}
}

func processGroups() []Group {
	return []Group{
		{
			Topic: "processes", Reason: "programs, threads and waiting for them",
			Names: []string{
				"execve", "execveat", "exit", "exit_group", "fork", "getpgid", "getpgrp", "getpid", "getppid", "getsid",
				"gettid", "pause", "pidfd_open", "pidfd_send_signal", "process_mrelease", "restart_syscall", "rseq",
				"set_robust_list", "get_robust_list", "set_thread_area", "get_thread_area", "set_tid_address", "setpgid",
				"setsid", "uretprobe", "vfork", "wait4", "waitid", "waitpid",
			},
		},
		{
			Topic: "identity", Reason: "ids and capabilities, within what the user namespace and the bounding set leave",
			Names: []string{
				"capget", "capset", "getegid", "getegid32", "geteuid", "geteuid32", "getgid", "getgid32", "getgroups",
				"getgroups32", "getresgid", "getresgid32", "getresuid", "getresuid32", "getuid", "getuid32", "setfsgid",
				"setfsgid32", "setfsuid", "setfsuid32", "setgid", "setgid32", "setgroups", "setgroups32", "setregid",
				"setregid32", "setresgid", "setresgid32", "setresuid", "setresuid32", "setreuid", "setreuid32", "setuid",
				"setuid32",
			},
		},
		{
			Topic: "signals", Reason: "signals reach only the sandbox's own processes",
			Names: []string{
				"kill", "rt_sigaction", "rt_sigpending", "rt_sigprocmask", "rt_sigqueueinfo", "rt_sigreturn",
				"rt_sigsuspend", "rt_sigtimedwait", "rt_sigtimedwait_time64", "rt_tgsigqueueinfo", "sigaltstack",
				"signalfd", "signalfd4", "sigprocmask", "sigreturn", "tgkill", "tkill",
			},
		},
		{
			Topic: "debugging", Reason: "gdb and strace on the sandbox's own processes; filters hold for a tracee's calls since Linux 4.8",
			Names: []string{"ptrace"},
		},
		{
			Topic: "scheduling", Reason: "priorities within the cgroup and the rlimits",
			Names: []string{
				"getcpu", "getpriority", "ioprio_get", "ioprio_set", "membarrier", "sched_get_priority_max",
				"sched_get_priority_min", "sched_getaffinity", "sched_getattr", "sched_getparam", "sched_getscheduler",
				"sched_rr_get_interval", "sched_rr_get_interval_time64", "sched_setaffinity", "sched_setattr",
				"sched_setparam", "sched_setscheduler", "sched_yield", "setpriority",
			},
		},
		{
			Topic: "self-restraint", Reason: "a program may only give up rights by these",
			Names: []string{
				"landlock_add_rule", "landlock_create_ruleset", "landlock_restrict_self", "prctl", "seccomp",
			},
		},
	}
}

func kernelGroups() []Group {
	return []Group{
		{
			Topic: "memory", Reason: "the process's own address space, charged to the cgroup",
			Names: []string{
				"brk", "cachestat", "madvise", "map_shadow_stack", "memfd_create", "memfd_secret", "mincore", "mlock",
				"mlock2", "mlockall", "mmap", "mmap2", "mprotect", "mremap", "mseal", "msync", "munlock", "munlockall",
				"munmap", "pkey_alloc", "pkey_free", "pkey_mprotect", "remap_file_pages",
			},
		},
		{
			Topic: "locks between threads", Reason: "futexes on own memory",
			Names: []string{
				"futex", "futex_requeue", "futex_time64", "futex_wait", "futex_waitv", "futex_wake",
			},
		},
		{
			Topic: "System V and POSIX IPC", Reason: "confined by the ipc namespace",
			Names: []string{
				"ipc", "mq_getsetattr", "mq_notify", "mq_open", "mq_timedreceive", "mq_timedreceive_time64",
				"mq_timedsend", "mq_timedsend_time64", "mq_unlink", "msgctl", "msgget", "msgrcv", "msgsnd", "semctl",
				"semget", "semop", "semtimedop", "semtimedop_time64", "shmat", "shmctl", "shmdt", "shmget",
			},
		},
		{
			Topic: "time", Reason: "reading clocks and sleeping; setting one needs a capability that is valid outside",
			Names: []string{
				"adjtimex", "alarm", "clock_adjtime", "clock_adjtime64", "clock_getres", "clock_getres_time64",
				"clock_gettime", "clock_gettime64", "clock_nanosleep", "clock_nanosleep_time64", "getitimer",
				"gettimeofday", "nanosleep", "setitimer", "time", "timer_create", "timer_delete", "timer_getoverrun",
				"timer_gettime", "timer_gettime64", "timer_settime", "timer_settime64", "timerfd_create",
				"timerfd_gettime", "timerfd_gettime64", "timerfd_settime", "timerfd_settime64", "times",
			},
		},
		{
			Topic: "limits and information", Reason: "what the process may use, and what machine it sees",
			Names: []string{
				"getrandom", "getrlimit", "getrusage", "prlimit64", "setrlimit", "sysinfo", "ugetrlimit", "uname",
			},
		},
		{
			Topic: "x86 registers and segments", Reason: "thread-local storage; Wine and old threading libraries",
			Names:  []string{"arch_prctl", "modify_ldt"},
			Arches: []string{"amd64", "386"},
		},
		{
			Topic: "arm calls", Reason: "what 32-bit arm programs need beside the common ones",
			Names:  []string{"arm_fadvise64_64", "arm_sync_file_range", "sync_file_range2", "breakpoint", "cacheflush", "set_tls"},
			Arches: []string{"arm64", "arm"},
		},
	}
}

func capabilityGroups() []Group {
	return []Group{
		{
			Topic: "chroot", Reason: "does not confine, but changes what paths mean to privileged helpers",
			Names: []string{"chroot"}, Caps: []string{"CAP_SYS_CHROOT"},
		},
		{
			Topic: "file handles", Reason: "open files past directory permissions",
			Names: []string{"open_by_handle_at"}, Caps: []string{"CAP_DAC_READ_SEARCH"},
		},
		{
			Topic: "other processes' memory", Reason: "for debuggers that were given the capability",
			Names: []string{"kcmp", "pidfd_getfd", "process_madvise", "process_vm_readv", "process_vm_writev"},
			Caps:  []string{"CAP_SYS_PTRACE"},
		},
		{
			Topic: "names and quotas", Reason: "the sandbox's own host name; file events of whole mounts",
			Names: []string{"fanotify_init", "quotactl", "quotactl_fd", "setdomainname", "sethostname"},
			Caps:  []string{"CAP_SYS_ADMIN"},
		},
		{
			Topic: "NUMA policy", Reason: "placement of own memory",
			Names: []string{"get_mempolicy", "mbind", "set_mempolicy", "set_mempolicy_home_node"},
			Caps:  []string{"CAP_SYS_NICE"},
		},
		{
			Topic: "kernel log", Reason: "the machine's log",
			Names: []string{"syslog"}, Caps: []string{"CAP_SYSLOG"},
		},
		{
			Topic: "hang up", Reason: "of the own terminal",
			Names: []string{"vhangup"}, Caps: []string{"CAP_SYS_TTY_CONFIG"},
		},
		{
			Topic: "the machine's clock", Reason: "fails without the capability in the initial user namespace",
			Names: []string{"clock_settime", "clock_settime64", "settimeofday", "stime"}, Caps: []string{"CAP_SYS_TIME"},
		},
		{
			Topic: "accounting", Reason: "fails without the capability in the initial user namespace",
			Names: []string{"acct"}, Caps: []string{"CAP_SYS_PACCT"},
		},
		{
			Topic: "reboot", Reason: "of the sandbox's pid namespace: ends it",
			Names: []string{"reboot"}, Caps: []string{"CAP_SYS_BOOT"},
		},
	}
}
