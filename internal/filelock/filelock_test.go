// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package filelock

import (
	"context"
	"errors"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

func take(tb testing.TB, path string, how How) *Lock {
	tb.Helper()
	l, err := Try(path, how)
	if err != nil {
		tb.Fatal(err)
	}
	return l
}

func release(tb testing.TB, l *Lock) {
	tb.Helper()
	if err := l.Close(); err != nil {
		tb.Error(err)
	}
}

func TestSharedAndExclusive(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	a, b := take(t, path, Shared), take(t, path, Shared)
	if _, err := Try(path, Exclusive); !errors.Is(err, ErrBusy) {
		t.Errorf("exclusive beside shared: %v, want ErrBusy", err)
	}
	release(t, a)
	release(t, b)
	l := take(t, path, Exclusive)
	if _, err := Try(path, Shared); !errors.Is(err, ErrBusy) {
		t.Errorf("shared beside exclusive: %v, want ErrBusy", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := Acquire(ctx, path, Shared); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("acquire: %v, want the end of the context", err)
	}
	release(t, l)
	if _, err := Try(filepath.Join(path, "no", "dir"), Shared); err == nil || errors.Is(err, ErrBusy) {
		t.Errorf("no directory: %v", err)
	}
}

// However many remove the file as they go, one holds the lock at a time.
func TestRemoveKeepsOthersOut(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	var wg sync.WaitGroup
	inside := make(chan struct{}, 1)
	for range 8 {
		wg.Go(func() {
			for range 50 {
				l, err := Acquire(t.Context(), path, Exclusive)
				if err != nil {
					t.Error(err)
					return
				}
				select {
				case inside <- struct{}{}:
				default:
					t.Error("two hold the lock")
				}
				<-inside
				if err := l.Remove(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}
