package tocsin

import (
	"errors"
	"fmt"
	"time"
)

// A ProblemError is the gateway's refusal: a problem document (RFC 9457).
type ProblemError struct {
	Status int
	Type   string
	Title  string
	Detail string
	// Field is what is to blame; empty where nothing in particular is.
	Field string
	// Document is all of it.
	Document map[string]any
	// RetryAfter is what the gateway asked for; 0: nothing.
	RetryAfter time.Duration
}

func (e *ProblemError) Error() string {
	if e.Field != "" {
		return fmt.Sprintf("tocsin: %s: %s (%d)", e.Field, e.Detail, e.Status)
	}
	return fmt.Sprintf("tocsin: %s (%d)", e.Detail, e.Status)
}

// An UnreachableError is a call without an answer: unless it can be made twice, nobody knows whether it was taken.
type UnreachableError struct {
	err error
}

func (e *UnreachableError) Error() string {
	return "tocsin: the gateway didn't answer: " + e.err.Error()
}

// Unwrap is what happened; of a context that has ended, its error.
func (e *UnreachableError) Unwrap() error {
	return e.err
}

// ErrBadAnswer means that what came isn't the gateway's.
var ErrBadAnswer = errors.New("tocsin: the answer isn't the gateway's")

// ErrWebhook means that a call isn't known to be Tocsin's: answer it with 401, and don't read it.
var ErrWebhook = errors.New("tocsin: not a webhook call of Tocsin's")

func problemOf(status int, document map[string]any, retryAfter time.Duration) *ProblemError {
	text := func(name, otherwise string) string {
		if value, ok := document[name].(string); ok && value != "" {
			return value
		}
		return otherwise
	}
	return &ProblemError{
		Status:     status,
		Type:       text("type", "about:blank"),
		Title:      text("title", ""),
		Detail:     text("detail", text("title", "no reason given")),
		Field:      text("field", ""),
		Document:   document,
		RetryAfter: retryAfter,
	}
}
