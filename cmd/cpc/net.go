// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/claude-pocket-console/cpc/internal/format"
	"github.com/claude-pocket-console/cpc/internal/visible"
	"github.com/claude-pocket-console/cpc/netns"
	"github.com/claude-pocket-console/cpc/netns/event"
	"github.com/claude-pocket-console/cpc/netns/gateway"
	"github.com/claude-pocket-console/cpc/netns/policy"
	"github.com/claude-pocket-console/cpc/sandbox"
	"github.com/claude-pocket-console/cpc/sandbox/network"
	"github.com/claude-pocket-console/cpc/sandbox/wire"
)

func (a netCommands) netCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "net COMMAND", Short: "Manage the network policy of sandboxes", Args: unknownCommand,
		Long: `Show and change which hosts sandboxes can reach.

Each change creates a new version of the policy, takes effect at once, and closes
the connections that the new version does not allow. The decisions are kept beside
the log of the sandbox.`,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	for _, c := range []*cobra.Command{
		a.netShowCommand(), a.netChangeCommand(wire.NetAllow, "Add rules that allow hosts"),
		a.netChangeCommand(wire.NetDeny, "Add rules that deny hosts"),
		a.netChangeCommand(wire.NetRemove, "Remove rules from the policy of a sandbox"),
		a.netTestCommand(), a.netLogCommand(), a.netLearnCommand(), a.netPresetsCommand(),
	} {
		c.DisableFlagsInUseLine = true
		cmd.AddCommand(c)
	}
	return cmd
}

// netState is what cpc net show has of one sandbox.
type netState struct {
	Sandbox string `json:"sandbox"`
	netns.Status
}

func (a netCommands) netShowCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "show [OPTIONS] SANDBOX...", Short: "Show the policy of sandboxes, with a counter for each rule", Args: wants(1, many),
		RunE: func(cmd *cobra.Command, args []string) error {
			e, err := a.engine()
			if err != nil {
				return err
			}
			states := []netState{}
			var failed error
			for _, name := range args {
				s := netState{Sandbox: name}
				if err := e.Network(cmd.Context(), name, wire.NetRequest{Do: wire.NetShow}, &s.Status); err != nil {
					if len(args) > 1 && !strings.Contains(err.Error(), name) {
						err = fmt.Errorf("%s: %w", name, err)
					}
					failed = errors.Join(failed, err)
					continue
				}
				states = append(states, s)
			}
			if asJSON {
				return errors.Join(printJSON(cmd.OutOrStdout(), states), failed)
			}
			for _, s := range states {
				if err := s.print(cmd.OutOrStdout()); err != nil {
					return err
				}
			}
			return failed
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "Print a JSON array")
	return cmd
}

func (s netState) print(w io.Writer) error {
	rows := [][]string{{fmt.Sprintf("%s: policy %d, %d connections open, %d packets refused", s.Sandbox, s.Version, len(s.Conns), s.Refused)}}
	if len(s.Rules) > 0 {
		rows = append(rows, []string{"  RULE", "FROM", "VERDICT", "CONNECTIONS"})
	}
	for _, r := range s.Rules {
		verdict := "allow"
		if r.Deny {
			verdict = "deny"
		}
		rows = append(rows, []string{"  " + r.Rule, r.Preset, verdict, fmt.Sprint(r.Count)})
	}
	if s.Limited {
		rows = append(rows, []string{"  and of these, what the host's policy allows (cpc net test tells)"})
	}
	if len(s.Conns) > 0 {
		rows = append(rows, []string{"  OPEN", "SINCE", "SENT", "RECEIVED"})
	}
	for _, c := range s.Conns {
		rows = append(rows, []string{fmt.Sprintf("  %s:%d", c.Host, c.Port), ago(c.Since), fmt.Sprint(c.Sent), fmt.Sprint(c.Received)})
	}
	return format.Table(w, rows)
}

func (a netCommands) netChangeCommand(do, short string) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: do + " [OPTIONS] SANDBOX RULE...", Short: short, Args: wants(2, many),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkRules(do, args[1:]); err != nil {
				return usageError{err}
			}
			e, err := a.engine()
			if err != nil {
				return err
			}
			var c network.Change
			if err := e.Network(cmd.Context(), args[0], wire.NetRequest{Do: do, Rules: args[1:]}, &c); err != nil {
				return err
			}
			if do == wire.NetAllow {
				for _, note := range policy.Advice(args[1:]) {
					fmt.Fprintf(stderr(), "%s: note: %s\n", cmd.CommandPath(), note)
				}
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), c)
			}
			for _, r := range c.Ineffective {
				fmt.Fprintf(stderr(), "%s: note: %s has no effect: the host's policy does not allow it\n", cmd.CommandPath(), r)
			}
			if !c.Changed {
				_, err = fmt.Fprintf(cmd.OutOrStdout(), "policy %d, which says so already\n", c.Version)
			} else {
				_, err = fmt.Fprintf(cmd.OutOrStdout(), "policy %d, %d connections cut\n", c.Version, c.Cut)
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "Print JSON")
	return cmd
}

// checkRules finds mistakes where the person is.
func checkRules(do string, rules []string) error {
	var err error
	switch do {
	case wire.NetAllow:
		_, err = policy.New(rules, nil)
	default: // what is removed may be of either kind
		_, err = policy.New(nil, rules)
	}
	return err
}

// netAnswer is what cpc net test has of one host.
type netAnswer struct {
	Host string `json:"host"`
	Port uint16 `json:"port"`
	gateway.Answer
}

func (a netCommands) netTestCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "test [OPTIONS] SANDBOX HOST[:PORT]|URL...", Short: "Test whether a sandbox can reach hosts, and which rule decides", Args: wants(2, many),
		Long: `Test whether a sandbox can reach hosts, and show which rule decides. The default
port is 443. Names are looked up on this host, as for a connection of the sandbox;
a name is denied if no rule grants its addresses. The exit status is 1 if the
policy denies one of the hosts.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			e, err := a.engine()
			if err != nil {
				return err
			}
			answers := []netAnswer{}
			for _, text := range args[1:] {
				host, port, err := policy.ParseTarget(text)
				if err != nil {
					return usageError{err}
				}
				w := netAnswer{Host: host, Port: port}
				if err := e.Network(cmd.Context(), args[0], wire.NetRequest{Do: wire.NetTest, Host: host, Port: port}, &w.Answer); err != nil {
					return err
				}
				answers = append(answers, w)
			}
			return printAnswers(cmd.OutOrStdout(), answers, asJSON)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "Print a JSON array")
	return cmd
}

func printAnswers(w io.Writer, answers []netAnswer, asJSON bool) error {
	denied := false
	var b strings.Builder
	for _, d := range answers {
		denied = denied || !d.Allowed
		by := d.Rule
		if d.Preset != "" {
			by += " (" + d.Preset + ")"
		}
		at := net.JoinHostPort(d.Host, strconv.Itoa(int(d.Port)))
		switch {
		case d.Allowed && d.Problem != "":
			fmt.Fprintf(&b, "%s allowed by %s, checked as %s, but cannot be reached now: %s\n", at, by, d.Proto, d.Problem)
		case d.Allowed:
			fmt.Fprintf(&b, "%s allowed by %s, checked as %s\n", at, by, d.Proto)
		case by != "":
			fmt.Fprintf(&b, "%s denied: %s: %s\n", at, d.Reason, by)
		default:
			fmt.Fprintf(&b, "%s denied: %s\n", at, d.Reason)
		}
	}
	var err error
	if asJSON {
		err = printJSON(w, answers)
	} else {
		_, err = io.WriteString(w, b.String())
	}
	if err == nil && denied {
		return exitStatus(1)
	}
	return err
}

func (a netCommands) netLogCommand() *cobra.Command {
	var follow, asJSON, denied bool
	cmd := &cobra.Command{
		Use: "log [OPTIONS] SANDBOX", Short: "Show the connections that the network of a sandbox allowed and denied", Args: wants(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			e, err := a.engine()
			if err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			return e.Decisions(cmd.Context(), args[0], follow, func(d event.Event) error {
				if denied && d.Verdict == event.Allowed {
					return nil
				}
				if asJSON {
					return json.NewEncoder(visible.JSONWriter(out)).Encode(d)
				}
				_, err := fmt.Fprintln(out, visible.Line(decisionLine(d)))
				return err
			})
		},
	}
	fs := cmd.Flags()
	fs.BoolVarP(&follow, "follow", "f", false, "Follow the output until the sandbox exits")
	fs.BoolVar(&denied, "denied", false, "Show only connections that were denied or failed")
	fs.BoolVar(&asJSON, "json", false, "Print each decision as a line of JSON")
	return cmd
}

// decisionLine words a decision for a person.
func decisionLine(d event.Event) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s %s", d.Time.Local().Format("2006-01-02 15:04:05.000"), d.Kind, d.Verdict)
	host := d.Name
	if host == "" && d.Addr.IsValid() {
		host = d.Addr.String()
	}
	if host != "" {
		b.WriteString(" " + host)
	}
	if d.Port != 0 {
		fmt.Fprintf(&b, ":%d", d.Port)
	}
	for _, f := range []struct{ head, text string }{
		{"", d.Query}, {"", d.Reason}, {"said ", d.Said}, {"by ", d.Rule}, {"of ", d.Preset}, {"from ", d.Process},
	} {
		if f.text != "" && (f.head != "said " || f.text != d.Name) {
			b.WriteString(", " + f.head + f.text)
		}
	}
	switch {
	case d.Kind == event.Policy:
		fmt.Fprintf(&b, ", version %d", d.Version)
	case d.Count > 1 && d.Kind == event.Connect, d.Count > 0 && d.Kind == event.Summary:
		fmt.Fprintf(&b, ", %d connections", d.Count)
	case d.Count > 1:
		fmt.Fprintf(&b, ", %d times", d.Count)
	}
	b.WriteString(bytesOf(d))
	return b.String()
}

// bytesOf words what a connection moved, or several did together. Nothing is said
// of several of which it was not kept, as in the log of an earlier cpc.
func bytesOf(d event.Event) string {
	switch several := d.Count > 1 || d.Kind == event.Summary; {
	case d.Kind != event.Close && d.Kind != event.Summary, several && d.Sent+d.Received == 0:
		return ""
	case several:
		return fmt.Sprintf(", %d bytes sent, %d received in all", d.Sent, d.Received)
	}
	return fmt.Sprintf(", %d bytes sent, %d received in %v", d.Sent, d.Received, d.Duration)
}

func (a netCommands) netPresetsCommand() *cobra.Command {
	var l listing
	cmd := &cobra.Command{
		Use: "presets [OPTIONS]", Short: "List the presets that rules can refer to", Args: wants(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return printRows(cmd.OutOrStdout(), l, []column{
				{"NAME", "{{.Name}}"}, {"DEFAULT", "{{if .Default}}yes{{end}}"}, {"ABOUT", "{{.About}}"}, {"HOSTS", `{{join .Hosts " "}}`},
			}, policy.Presets())
		},
	}
	l.register(cmd)
	return cmd
}

// learnt reads what a sandbox that has ended would have needed.
func learnt(ctx context.Context, e *sandbox.Engine, id string) ([]string, error) {
	var seen []event.Event
	err := e.Decisions(ctx, id, false, func(d event.Event) error {
		seen = append(seen, d)
		return nil
	})
	return netns.Smallest(seen), err
}
