package protocol

import (
	"errors"
	"fmt"
	"strings"
)

// A FailureType says whose fault a failure is; the platform decides by it whether to try again.
type FailureType string

// Config: only a person can mend it, so the platform does not retry. Transient: trying again may help, and what was
// reached is kept in the states. System: a fault of the connector itself.
const (
	Config    FailureType = "config_error"
	Transient FailureType = "transient_error"
	System    FailureType = "system_error"
)

// An Error is a failure in the words of the person who has to deal with it. Neither Message, Hint nor the text of Err
// may hold a secret: all three reach stdout.
type Error struct {
	Kind    FailureType
	Message string            // what happened, where
	Hint    string            // what to do about it: SQL to run, a setting to change; may be empty
	Stream  *StreamDescriptor // the stream it is about, or nil
	Err     error             // the cause, or nil; becomes internal_message
}

// Error is what the user reads: the message, then what to do.
func (e *Error) Error() string {
	if e.Hint == "" {
		return e.Message
	}
	return e.Message + " " + e.Hint
}

// Unwrap is the cause.
func (e *Error) Unwrap() error { return e.Err }

// Problems takes an error made with errors.Join apart, at any depth, into the single problems; nil has none.
func Problems(err error) []error {
	if err == nil {
		return nil
	}
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return []error{err}
	}
	var all []error
	for _, e := range joined.Unwrap() {
		all = append(all, Problems(e)...)
	}
	return all
}

// summary makes one Error of all problems in err: one line each, in order, as many as fit. Where their kinds differ, a
// transient one decides (a retry can then get further, and leaves the others alone to be seen), then a config one.
func summary(err error) *Error {
	problems := Problems(err)
	var lines, causes []string
	rank := map[FailureType]int{System: 0, Config: 1, Transient: 2}
	sum := &Error{Kind: System}
	for _, p := range problems {
		e := asError(p)
		if rank[e.Kind] > rank[sum.Kind] {
			sum.Kind = e.Kind
		}
		if len(problems) == 1 {
			sum.Stream = e.Stream
		}
		line := e.Error()
		if e.Stream != nil && !strings.Contains(line, e.Stream.String()) {
			line = "stream " + e.Stream.String() + ": " + line
		}
		lines = append(lines, line)
		if e.Err != nil {
			causes = append(causes, e.Err.Error())
		}
	}
	sum.Message = list(lines)
	if len(causes) > 0 {
		sum.Err = errors.New(list(causes))
	}
	return sum
}

// longest is how many bytes of text an error may have: platforms cut it at 50,000 characters, people read less.
const longest = 20_000

// list joins lines; of those that are too many only the number is told, and what is too long is cut.
func list(lines []string) string {
	var text strings.Builder
	for i, line := range lines {
		if i > 0 && text.Len()+len(line) > longest {
			fmt.Fprintf(&text, "\n… and %d more.", len(lines)-i)
			break
		}
		if i > 0 {
			text.WriteByte('\n')
		}
		if len(line) > longest {
			line = strings.ToValidUTF8(line[:longest], "") + "…"
		}
		text.WriteString(line)
	}
	return text.String()
}

// asError finds the Error in p, or makes one: what nobody put into words is the connector's own fault.
func asError(p error) *Error {
	var e *Error
	if errors.As(p, &e) {
		return e
	}
	return &Error{Kind: System, Message: "Unexpected error: " + p.Error(), Err: p}
}
