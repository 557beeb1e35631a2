package tocsin

import (
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Retrying is when a call is made again: at most Attempts within Total, pauses included. Timeout is one attempt's.
type Retrying struct {
	Attempts int
	Total    time.Duration
	Timeout  time.Duration
	// RetryAfterMost is how long of what the gateway asks for is waited.
	RetryAfterMost time.Duration
	// Pause is what comes before the next attempt, by how many were made.
	Pause func(attempts int) time.Duration
}

// DefaultRetrying is what a client does that isn't given another.
func DefaultRetrying() Retrying {
	return Retrying{
		Attempts:       8,
		Total:          time.Minute,
		Timeout:        20 * time.Second,
		RetryAfterMost: 30 * time.Second,
		Pause:          Backoff(200*time.Millisecond, 10*time.Second),
	}
}

// Backoff is pauses that double, each up to a half shorter: clients that failed at once don't come back at once.
func Backoff(first, most time.Duration) func(attempts int) time.Duration {
	return func(attempts int) time.Duration {
		pause := first
		for i := 1; i < attempts && pause < most; i++ {
			pause *= 2
		}
		return time.Duration(float64(min(pause, most)) * (0.5 + 0.5*rand.Float64()))
	}
}

// noAnswer stands where a status would.
const noAnswer = 0

// pauseAfter is how long until the next attempt, and whether there is one.
func (r Retrying) pauseAfter(attempts int, left time.Duration, status int, asked time.Duration, isIdempotent bool) (time.Duration, bool) {
	mayRepeat := status == http.StatusTooManyRequests
	switch status {
	case noAnswer, http.StatusRequestTimeout, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		mayRepeat = isIdempotent
	}
	if !mayRepeat || attempts >= r.Attempts {
		return 0, false
	}
	pause := max(r.Pause(attempts), min(asked, r.RetryAfterMost))
	return pause, pause < left
}

// retryAfter is what Retry-After asks for, in seconds or as a date; else when a rate that is used up is there again.
func retryAfter(header http.Header, now time.Time) time.Duration {
	given := strings.TrimSpace(header.Get("Retry-After"))
	if wait, ok := seconds(given); ok {
		return wait
	}
	if given != "" {
		if at, err := http.ParseTime(given); err == nil {
			return max(0, at.Sub(now))
		}
		return 0
	}
	if wait, ok := seconds(header.Get("RateLimit-Reset")); ok && header.Get("RateLimit-Remaining") == "0" {
		return wait
	}
	return 0
}

func seconds(text string) (time.Duration, bool) {
	count, err := strconv.ParseUint(text, 10, 30)
	return time.Duration(count) * time.Second, err == nil
}
