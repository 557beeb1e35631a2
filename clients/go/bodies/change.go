package bodies

import "encoding/json"

// Change is a field of a document that is merged as RFC 7396: by itself it says nothing, [Set] replaces, [Remove] takes
// away.
type Change[T any] struct {
	isMade bool
	value  *T
}

// Set is a change to the value.
func Set[T any](value T) Change[T] {
	return Change[T]{isMade: true, value: &value}
}

// Remove is a change to nothing.
func Remove[T any]() Change[T] {
	return Change[T]{isMade: true}
}

// IsZero says whether there is no change.
func (c Change[T]) IsZero() bool {
	return !c.isMade
}

// MarshalJSON is the value, or null.
func (c Change[T]) MarshalJSON() ([]byte, error) {
	return json.Marshal(c.value)
}

// Ptr points to the value.
func Ptr[T any](value T) *T {
	return &value
}
