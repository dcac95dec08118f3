// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"

	"github.com/google/go-containerregistry/pkg/authn"
	"golang.org/x/sys/unix"
)

// Credential helpers ask the desktop's key ring, the TPM or a cloud's agent who
// one is, and in U0 one is another: root. So the copy of cpc that works there
// asks its parent, which looks credentials up as the user. They pass through a
// socket that nobody else has, and are neither arguments nor environment.

// credentialQuestion names what credentials are wanted for.
type credentialQuestion struct {
	Repository string // host/path
	Registry   string // host
}

func (q credentialQuestion) String() string      { return q.Repository }
func (q credentialQuestion) RegistryStr() string { return q.Registry }

// credentialAnswer is what the parent says.
type credentialAnswer struct {
	Auth  authn.AuthConfig
	Error string
}

// answerCredentials answers on a new socket, whose other end is for the child,
// until that end is closed.
func answerCredentials(ctx context.Context, keys authn.Keychain) (child *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("socket for credentials: %w", err)
	}
	mine := os.NewFile(uintptr(fds[0]), "credentials")
	child = os.NewFile(uintptr(fds[1]), "credentials")
	conn, err := net.FileConn(mine)
	if err = errors.Join(err, mine.Close()); err != nil {
		return nil, errors.Join(err, child.Close())
	}
	go func() {
		defer conn.Close()
		in, out := json.NewDecoder(conn), json.NewEncoder(conn)
		for {
			var q credentialQuestion
			if in.Decode(&q) != nil || out.Encode(lookUpCredentials(ctx, keys, q)) != nil {
				return
			}
		}
	}()
	return child, nil
}

func lookUpCredentials(ctx context.Context, keys authn.Keychain, q credentialQuestion) credentialAnswer {
	auth, err := authn.Resolve(ctx, keys, q)
	if err != nil {
		return credentialAnswer{Error: err.Error()}
	}
	c, err := authn.Authorization(ctx, auth)
	if err != nil {
		return credentialAnswer{Error: err.Error()}
	}
	return credentialAnswer{Auth: *c}
}

// parentKeychain asks the parent. It is made from the child's end.
type parentKeychain struct {
	mu  sync.Mutex // one question at a time
	in  *json.Decoder
	out *json.Encoder
}

func newParentKeychain(fd int) *parentKeychain {
	unix.CloseOnExec(fd)
	f := os.NewFile(uintptr(fd), "credentials")
	return &parentKeychain{in: json.NewDecoder(f), out: json.NewEncoder(f)}
}

// Resolve implements authn.Keychain.
func (k *parentKeychain) Resolve(r authn.Resource) (authn.Authenticator, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.out.Encode(credentialQuestion{r.String(), r.RegistryStr()}); err != nil {
		return nil, fmt.Errorf("ask for credentials: %w", err)
	}
	var a credentialAnswer
	if err := k.in.Decode(&a); err != nil {
		return nil, fmt.Errorf("ask for credentials: %w", err)
	}
	if a.Error != "" {
		return nil, errors.New(a.Error)
	}
	return authn.FromConfig(a.Auth), nil
}
