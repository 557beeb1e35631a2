package tocsin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"tocsin/answers"
	"tocsin/bodies"
)

// gateway answers in turn, the last one for ever, and keeps what it was asked and how long it was waited for.
type gateway struct {
	answers []any // an answer or an error
	asked   []*http.Request
	bodies  []string
	waited  []time.Duration
	at      time.Time
}

type answer struct {
	status int
	text   string
	header map[string]string
}

func (g *gateway) RoundTrip(request *http.Request) (*http.Response, error) {
	if err := request.Context().Err(); err != nil {
		return nil, err
	}
	body := ""
	if request.Body != nil {
		read, err := io.ReadAll(request.Body)
		if err != nil {
			return nil, err
		}
		body = string(read)
	}
	g.asked, g.bodies = append(g.asked, request), append(g.bodies, body)
	next := g.answers[0]
	if len(g.answers) > 1 {
		g.answers = g.answers[1:]
	}
	if err, isError := next.(error); isError {
		return nil, err
	}
	given := next.(answer)
	header := http.Header{}
	for name, value := range given.header {
		header.Set(name, value)
	}
	return &http.Response{
		StatusCode: given.status, Header: header, Body: io.NopCloser(strings.NewReader(given.text)), Request: request,
	}, nil
}

func (g *gateway) client(t *testing.T, options ...Option) *Client {
	t.Helper()
	client, err := New("http://gateway/", "key", append([]Option{WithHTTPClient(&http.Client{Transport: g})}, options...)...)
	if err != nil {
		t.Fatal(err)
	}
	g.at = time.Unix(1000, 0)
	client.now = func() time.Time { return g.at }
	client.sleep = func(ctx context.Context, pause time.Duration) error {
		g.waited = append(g.waited, pause)
		g.at = g.at.Add(pause)
		return ctx.Err()
	}
	return client
}

func answering(answers ...any) *gateway {
	return &gateway{answers: answers}
}

func problem(status int, header map[string]string) answer {
	text := fmt.Sprintf(`{"status": %d, "type": "/problems/no", "title": "No", "detail": "not now", "field": "user_id"}`, status)
	return answer{status, text, header}
}

var (
	errGone  = errors.New("gone")
	accepted = answer{202, `{"notification_id": "n", "recipients": 1, "status": "accepted", "new": {"member": 1}}`, nil}
	hello    = bodies.Notification{UserID: "ann", EventType: "order.shipped"}
)

func keyIn(t *testing.T, body string) string {
	t.Helper()
	var sent bodies.Notification
	if err := json.Unmarshal([]byte(body), &sent); err != nil || sent.IdempotencyKey == "" {
		t.Fatalf("%s has no key: %v", body, err)
	}
	return sent.IdempotencyKey
}

func TestALostAnswerIsAskedForAgainWithTheSameKey(t *testing.T) {
	gateway := answering(errGone, problem(503, nil), problem(408, nil), problem(429, nil), accepted)
	taken, err := gateway.client(t).Send(t.Context(), hello)
	if err != nil || taken.NotificationID != "n" {
		t.Fatal(taken, err)
	}
	for _, body := range gateway.bodies {
		if keyIn(t, body) != keyIn(t, gateway.bodies[0]) {
			t.Error(gateway.bodies)
		}
	}
	if len(gateway.bodies) != 5 {
		t.Error(len(gateway.bodies))
	}
}

func TestEachNotificationHasAKeyOfItsOwnUnlessItsCallerGivesOne(t *testing.T) {
	gateway := answering(accepted)
	client := gateway.client(t)
	given := hello
	given.IdempotencyKey = "order-4711"
	for _, each := range []bodies.Notification{hello, hello, given} {
		if _, err := client.Send(t.Context(), each); err != nil {
			t.Fatal(err)
		}
	}
	if keyIn(t, gateway.bodies[0]) == keyIn(t, gateway.bodies[1]) || keyIn(t, gateway.bodies[2]) != "order-4711" {
		t.Error(gateway.bodies)
	}
}

func TestWhatWouldTakeEffectTwiceIsAskedForOnce(t *testing.T) {
	calls := map[string]func(*Client) error{
		"erase":    func(c *Client) error { _, err := c.DeleteUsersID(t.Context(), "ann"); return err },
		"replay":   func(c *Client) error { _, err := c.PostReplays(t.Context(), bodies.AskingReplayAsked{}); return err },
		"policy":   func(c *Client) error { _, err := c.PutPolicy(t.Context(), map[string]any{}); return err },
		"template": func(c *Client) error { _, err := c.PutTemplatesID(t.Context(), "t", bodies.Template{}); return err },
		"upload": func(c *Client) error {
			_, err := c.UploadCampaign(t.Context(), PostCampaignsQuery{}, "text/csv", strings.NewReader("user_id\nann\n"))
			return err
		},
	}
	for name, call := range calls {
		for _, lost := range []any{errGone, problem(503, nil)} {
			gateway := answering(lost)
			if err := call(gateway.client(t)); err == nil || len(gateway.asked) != 1 {
				t.Error(name, err, len(gateway.asked))
			}
		}
	}
}

func TestWhatIsCalledIdempotentIsAskedForAgain(t *testing.T) {
	gateway := answering(errGone, answer{202, `{"erasure_id": "e"}`, nil})
	erasing, err := gateway.client(t).DeleteUsersID(t.Context(), "ann", Idempotent())
	if err != nil || erasing.ErasureID != "e" || len(gateway.asked) != 2 {
		t.Error(erasing, err)
	}
}

func TestARefusalIsAProblemAndIsNotAskedForAgain(t *testing.T) {
	for _, status := range []int{307, 400, 401, 403, 404, 409, 413, 422, 500} {
		gateway := answering(problem(status, map[string]string{"Location": "http://elsewhere/"}))
		_, err := gateway.client(t).GetPolicy(t.Context())
		var refused *ProblemError
		if !errors.As(err, &refused) || len(gateway.asked) != 1 {
			t.Fatal(status, err, len(gateway.asked))
		}
		if refused.Status != status || refused.Field != "user_id" || refused.Title != "No" || refused.Type != "/problems/no" {
			t.Error(refused)
		}
	}
}

func TestAnotherServersPageIsNoAnswer(t *testing.T) {
	for _, page := range []string{"<html>", "", "null", "[]", `{"detail": 1}`} {
		_, err := answering(answer{502, page, nil}).client(t, WithRetrying(once())).GetPolicy(t.Context())
		var refused *ProblemError
		if !errors.As(err, &refused) || refused.Status != 502 || refused.Detail == "" {
			t.Error(page, err)
		}
	}
	for _, page := range []string{"", " ", "null", " null\n", "<html>", "[]", `{"version": "x"}`, `{} {}`} {
		gateway := answering(answer{200, page, nil})
		if _, err := gateway.client(t).GetPolicy(t.Context()); !errors.Is(err, ErrBadAnswer) || len(gateway.asked) != 1 {
			t.Error(page, err)
		}
	}
}

func TestRetryAfterIsWaitedForUpToALimitAndAllEndsInTime(t *testing.T) {
	policy := answer{200, `{"version": 1, "in_force": true, "policy": {}}`, nil}
	for header, value := range map[string]string{"Retry-After": "7", "retry-after": time.Unix(1007, 0).UTC().Format(http.TimeFormat)} {
		gateway := answering(problem(429, map[string]string{header: value}), policy)
		if _, err := gateway.client(t).GetPolicy(t.Context()); err != nil || gateway.waited[0] != 7*time.Second {
			t.Error(value, err, gateway.waited)
		}
	}
	spent := answering(problem(429, map[string]string{"RateLimit-Remaining": "0", "RateLimit-Reset": "9"}), policy)
	if _, err := spent.client(t).GetPolicy(t.Context()); err != nil || spent.waited[0] != 9*time.Second {
		t.Error(err, spent.waited)
	}
	ever := answering(problem(503, map[string]string{"Retry-After": "99999"}))
	_, err := ever.client(t).GetPolicy(t.Context())
	var refused *ProblemError
	if !errors.As(err, &refused) || refused.RetryAfter != 99999*time.Second {
		t.Error(err)
	}
	if len(ever.waited) > 2 || slices.Max(ever.waited) != 30*time.Second {
		t.Error(ever.waited)
	}
	for _, odd := range []string{"-1", "x", "1e9", "99999999999999999999"} {
		gateway := answering(problem(503, map[string]string{"Retry-After": odd}), policy)
		if _, err := gateway.client(t).GetPolicy(t.Context()); err != nil || gateway.waited[0] > time.Second {
			t.Error(odd, err, gateway.waited)
		}
	}
}

func TestAttemptsEnd(t *testing.T) {
	gateway := answering(errGone)
	_, err := gateway.client(t).GetPolicy(t.Context())
	var lost *UnreachableError
	if !errors.As(err, &lost) || !errors.Is(err, errGone) || len(gateway.asked) != 8 {
		t.Error(err, len(gateway.asked))
	}
}

func TestPausesDoubleUpToALimitWithChance(t *testing.T) {
	pause := Backoff(time.Second, 10*time.Second)
	for attempts, longest := range map[int]time.Duration{1: 1, 2: 2, 3: 4, 4: 8, 5: 10, 1000: 10} {
		longest *= time.Second
		for range 100 {
			if found := pause(attempts); found < longest/2 || found > longest {
				t.Error(attempts, found)
			}
		}
	}
}

func TestAContextThatHasEndedEndsTheCall(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	gateway := answering(errGone)
	client := gateway.client(t)
	client.sleep = func(ctx context.Context, _ time.Duration) error {
		cancel()
		return ctx.Err()
	}
	if _, err := client.Send(ctx, hello); !errors.Is(err, errGone) || len(gateway.asked) != 1 {
		t.Error(err, len(gateway.asked))
	}
	if _, err := client.Send(ctx, hello); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestManyGoInAsFewCallsAsItTakesAndOneHarmsNoOther(t *testing.T) {
	many := make([]bodies.Notification, 2001)
	for at := range many {
		many[at] = hello
	}
	many[1].Data = map[string]any{"no": math.NaN()}
	gateway := &gateway{}
	client := gateway.client(t)
	client.http.Transport = bulkTaker{gateway, func(at int) string {
		if at == 2 {
			return `{"status": 422, "detail": "no", "field": "content"}`
		}
		return `{"notification_id": "n", "recipients": 1}`
	}}
	results := client.SendMany(t.Context(), many)
	if len(gateway.asked) != 2 || len(results) != 2001 {
		t.Fatal(len(gateway.asked), len(results))
	}
	var refused *ProblemError
	for at, each := range results {
		switch {
		case at == 1 && each.Err != nil && each.Accepted == nil: // its own: it can't be written as JSON
		case at == 3 && errors.As(each.Err, &refused) && refused.Status == 422 && refused.Field == "content":
		case at == 1003 && each.Err != nil: // the second call's third
		case each.Err == nil && each.Accepted.NotificationID == "n":
		default:
			t.Error(at, each)
		}
	}
}

func TestACallHasAtMostFourMebibytes(t *testing.T) {
	big := hello
	big.Data = map[string]any{"text": strings.Repeat("x", 1<<20)}
	gateway := &gateway{}
	client := gateway.client(t)
	client.http.Transport = bulkTaker{gateway, func(int) string { return `{"notification_id": "n", "recipients": 1}` }}
	results := client.SendMany(t.Context(), slices.Repeat([]bodies.Notification{big}, 7))
	if len(results) != 7 || len(gateway.asked) != 3 {
		t.Error(len(results), len(gateway.asked))
	}
	for _, body := range gateway.bodies {
		if len(body) > mostBytes+100 {
			t.Error(len(body))
		}
	}
}

func TestABulkCallThatFailsIsEachOnesError(t *testing.T) {
	for _, failed := range []any{errGone, problem(403, nil), answer{202, `{"results": []}`, nil}, answer{202, `{"results": [1, 2]}`, nil}} {
		gateway := answering(failed)
		results := gateway.client(t, WithRetrying(once())).SendMany(t.Context(), []bodies.Notification{hello, hello})
		if len(results) != 2 || results[0].Err == nil || results[1].Err == nil {
			t.Error(failed, results)
		}
	}
	if results := answering(errGone).client(t).SendMany(t.Context(), nil); len(results) != 0 {
		t.Error(results)
	}
}

// bulkTaker has a result for each request of a call, by its place in it.
type bulkTaker struct {
	gateway *gateway
	result  func(at int) string
}

func (b bulkTaker) RoundTrip(request *http.Request) (*http.Response, error) {
	b.gateway.answers = []any{answer{500, "", nil}}
	if _, err := b.gateway.RoundTrip(request); err != nil {
		return nil, err
	}
	var sent bodies.Bulk
	if err := json.Unmarshal([]byte(b.gateway.bodies[len(b.gateway.bodies)-1]), &sent); err != nil {
		return nil, err
	}
	results := make([]string, len(sent.Requests))
	for at := range results {
		results[at] = b.result(at)
	}
	text := `{"results": [` + strings.Join(results, ",") + `]}`
	return &http.Response{StatusCode: 202, Body: io.NopCloser(strings.NewReader(text)), Request: request}, nil
}

func TestAListIsReadToItsEnd(t *testing.T) {
	client := answering(
		answer{200, `{"events": [{"status": "accepted"}, {"status": "queued"}], "next_cursor": "a&b"}`, nil},
		answer{200, `{"events": [], "next_cursor": "c"}`, nil},
		answer{200, `{"events": [{"status": "sent"}], "next_cursor": null}`, nil},
	).client(t)
	var cursors, found []string
	for event, err := range Pages(func(cursor string) ([]answers.LifecycleEvent, string, error) {
		cursors = append(cursors, cursor)
		page, err := client.GetNotificationsIDEvents(t.Context(), "n", GetNotificationsIDEventsQuery{Cursor: cursor})
		if err != nil {
			return nil, "", err
		}
		return page.Events, page.NextCursor, nil
	}) {
		if err != nil {
			t.Fatal(err)
		}
		found = append(found, event.Status)
	}
	if !slices.Equal(found, []string{"accepted", "queued", "sent"}) || !slices.Equal(cursors, []string{"", "a&b", "c"}) {
		t.Error(found, cursors)
	}
	pages := 0
	for _, err := range Pages(func(string) ([]int, string, error) { pages++; return nil, "more", errGone }) {
		if !errors.Is(err, errGone) || pages != 1 {
			t.Error(err, pages)
		}
	}
}

func TestPathsAndQueriesAreEscaped(t *testing.T) {
	gateway := answering(answer{200, `{"summary": "s", "channels": {}}`, nil})
	client := gateway.client(t)
	if _, err := client.GetNotificationsIDWhy(t.Context(), "a/b ü?#%", GetNotificationsIDWhyQuery{UserID: "x&y=z"}); err != nil {
		t.Fatal(err)
	}
	shown := gateway.asked[0].URL.String()
	if shown != "http://gateway/v1/notifications/a%2Fb%20%C3%BC%3F%23%25/why?user_id=x%26y%3Dz" {
		t.Error(shown)
	}
	for _, step := range []string{"", ".", ".."} {
		if _, err := client.GetUsersIDProfile(t.Context(), step); err == nil || !strings.Contains(err.Error(), "id can't be") {
			t.Error(step, err)
		}
	}
	if len(gateway.asked) != 1 {
		t.Error(len(gateway.asked))
	}
}

func TestAKeyThatIsNoneOrCannotBeHadIsNoLostAnswerAndIsNotShown(t *testing.T) {
	for _, bad := range []string{"", "a b", "se\ncret", "schlüssel"} {
		isNamed := func(err error) bool {
			return err != nil && strings.Contains(err.Error(), "key is an API key") && (bad == "" || !strings.Contains(err.Error(), bad))
		}
		if _, err := New("http://gateway", bad); !isNamed(err) {
			t.Error(bad, err)
		}
		gateway := answering(accepted)
		client := gateway.client(t, WithKeyFunc(func(context.Context) (string, error) { return bad, nil }))
		if _, err := client.Send(t.Context(), hello); !isNamed(err) || len(gateway.asked)+len(gateway.waited) != 0 {
			t.Error(bad, err)
		}
	}
	gateway := answering(accepted)
	client := gateway.client(t, WithKeyFunc(func(context.Context) (string, error) { return "", errGone }))
	if _, err := client.Send(t.Context(), hello); !errors.Is(err, errGone) || len(gateway.asked)+len(gateway.waited) != 0 {
		t.Error(err)
	}
}

func TestEachAttemptHasTheKeyOfThen(t *testing.T) {
	gateway, number := answering(errGone, accepted), 0
	client := gateway.client(t, WithKeyFunc(func(context.Context) (string, error) {
		number++
		return fmt.Sprintf("key%d", number), nil
	}))
	if _, err := client.Send(t.Context(), hello); err != nil {
		t.Fatal(err)
	}
	for at, request := range gateway.asked {
		if request.Header.Get("Authorization") != fmt.Sprintf("Bearer key%d", at+1) {
			t.Error(request.Header)
		}
	}
}

func TestAUrlThatIsNoneIsRefused(t *testing.T) {
	for _, bad := range []string{"", "gateway", "ftp://gateway", "http://", "http://a:b@gateway", "http://gateway?x=1", "http://gateway#x", "http://[", "http://a b"} {
		if _, err := New(bad, "key"); err == nil || !strings.Contains(err.Error(), "URL") {
			t.Error(bad, err)
		}
	}
	for _, bad := range []func(*Retrying){
		func(r *Retrying) { r.Attempts = 0 }, func(r *Retrying) { r.Total = 0 },
		func(r *Retrying) { r.Timeout = -1 }, func(r *Retrying) { r.Pause = nil },
	} {
		retrying := DefaultRetrying()
		bad(&retrying)
		if _, err := New("http://gateway", "key", WithRetrying(retrying)); err == nil {
			t.Error(retrying)
		}
	}
}

func TestTheCallersHTTPClientStaysAsItIs(t *testing.T) {
	own := &http.Client{}
	if _, err := New("http://gateway", "key", WithHTTPClient(own)); err != nil || own.CheckRedirect != nil {
		t.Error(err, own)
	}
}

func TestABodyHasWhatWasSetAndNothingElse(t *testing.T) {
	at := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	for _, each := range []struct {
		body any
		text string
	}{
		{bodies.Notification{EventType: "e", UserID: "u"}, `{"user_id":"u","event_type":"e"}`},
		{bodies.Notification{EventType: "e", Channels: []bodies.Channel{}}, `{"event_type":"e","channels":[]}`},
		{bodies.Notification{EventType: "e", SendAt: at}, `{"event_type":"e","send_at":"2026-11-30T12:00:00Z"}`},
		{bodies.ProfileSet{}, `{}`},
		{bodies.ProfileSet{Name: bodies.Remove[string](), Email: bodies.Set("")}, `{"email":"","name":null}`},
		{bodies.ProfileSet{EmailVerified: bodies.Set(false)}, `{"email_verified":false}`},
		{bodies.Snooze{}, `{"until":null}`},
		{bodies.Segment{Locale: bodies.Ptr("")}, `{"locale":""}`},
		{bodies.KeyAsked{ID: "k", Scopes: []string{}, Critical: bodies.Ptr(false)}, `{"id":"k","scopes":[],"critical":false}`},
		{bodies.RedriveBody{Reason: bodies.Ptr(""), DryRun: true}, `{"reason":"","dry_run":true}`},
	} {
		text, err := json.Marshal(each.body)
		if err != nil || string(text) != each.text {
			t.Error(string(text), each.text, err)
		}
	}
}

func TestNumbersWithinAnyStayAsTheyWere(t *testing.T) {
	gateway := answering(answer{200, `{"limits": {"max": 18446744073709551615}}`, nil})
	found, err := gateway.client(t).GetUsersIDPreferences(t.Context(), "ann")
	if text, _ := json.Marshal(found); err != nil || string(text) != `{"limits":{"max":18446744073709551615}}` {
		t.Error(string(text), err)
	}
}

func once() Retrying {
	retrying := DefaultRetrying()
	retrying.Attempts = 1
	return retrying
}
