// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package journal

import (
	"os"
	"os/user"
	"strconv"
	"strings"
)

// By is the attribute of an event that says who has asked for what happened.
const By = "by"

// Who says for whom this process works: its user and, where another one has logged in
// and become that user (su, sudo), the one who has. It is this process's own word: whoever
// may ask a monitor for something is the sandbox's user or root, and could write the
// journal as well.
func Who() string {
	login, err := os.ReadFile("/proc/self/loginuid") // absent in a kernel without audit
	if err != nil {
		return who(os.Getuid(), "")
	}
	return who(os.Getuid(), strings.TrimSpace(string(login)))
}

// notLoggedIn is the kernel's loginuid of what no login has started.
const notLoggedIn = "4294967295"

func who(uid int, login string) string {
	id := strconv.Itoa(uid)
	if login == "" || login == notLoggedIn || login == id {
		return named(id)
	}
	return named(id) + ", logged in as " + named(login)
}

// named is a user's name and id.
func named(uid string) string {
	u, err := user.LookupId(uid)
	if err != nil || u.Username == "" {
		return "uid " + uid
	}
	return u.Username + " (uid " + uid + ")"
}
