// Package tocsin calls Tocsin's gateway: thin, typed, with nothing but the standard library.
//
// A [Client] has a method for each operation of the API, by the name that the gateway's description has for it
// (PostHooks is POST /v1/hooks). Send, SendMany and Cancel are the three that most services need.
package tocsin

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"strings"
	"time"

	"tocsin/answers"
	"tocsin/bodies"
)

const (
	mostRequests    = 1_000
	mostBytes       = 4 << 20
	mostAnswerBytes = 64 << 20
)

// A Client calls the gateway. Any number of goroutines may use one at once.
type Client struct {
	url      string
	key      func(context.Context) (string, error)
	retrying Retrying
	http     *http.Client
	now      func() time.Time
	sleep    func(context.Context, time.Duration) error
}

// An Option changes how a client works.
type Option func(*Client)

// WithRetrying has calls made again as it says.
func WithRetrying(retrying Retrying) Option {
	return func(c *Client) { c.retrying = retrying }
}

// WithHTTPClient has calls made by another client: with a proxy, or a client certificate. Redirects aren't followed,
// and its Timeout counts for each attempt.
func WithHTTPClient(client *http.Client) Option {
	return func(c *Client) { c.http = client }
}

// WithKeyFunc has each attempt's API key or user's token from the function: one that expires, or lies in a vault.
func WithKeyFunc(key func(context.Context) (string, error)) Option {
	return func(c *Client) { c.key = key }
}

// New is a client of the gateway at the URL. key: an API key or a user's token.
func New(gateway, key string, options ...Option) (*Client, error) {
	parsed, err := url.Parse(gateway)
	if err != nil || (parsed.Scheme != "http" && parsed.Scheme != "https") || parsed.Host == "" || parsed.User != nil ||
		parsed.RawQuery != "" || parsed.Fragment != "" {
		return nil, errors.New("tocsin: the gateway's URL begins with http:// or https://, and has no user, query or fragment")
	}
	client := &Client{
		url:      strings.TrimRight(gateway, "/"),
		retrying: DefaultRetrying(),
		http:     http.DefaultClient,
		now:      time.Now,
		sleep:    sleep,
	}
	for _, option := range options {
		option(client)
	}
	if client.key == nil {
		if err := checkKey(key); err != nil {
			return nil, err
		}
		client.key = func(context.Context) (string, error) { return key, nil }
	}
	if client.retrying.Attempts < 1 || client.retrying.Total <= 0 || client.retrying.Timeout <= 0 || client.retrying.Pause == nil {
		return nil, errors.New("tocsin: Retrying: give at least one attempt, times above 0, and a Pause")
	}
	own := *client.http
	own.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	client.http = &own
	return client, nil
}

// Send tells users something. It has its key before the first attempt: a lost answer never makes it be sent twice.
func (c *Client) Send(ctx context.Context, notification bodies.Notification) (*answers.Accepted, error) {
	return c.PostNotifications(ctx, keyed(notification), Idempotent())
}

// A Result is what came of one request of many: either is nil.
type Result struct {
	Accepted *answers.Accepted
	Err      error
}

// SendMany sends each as Send does, in as few calls as it takes; one result for each, in order.
func (c *Client) SendMany(ctx context.Context, notifications []bodies.Notification) []Result {
	results := make([]Result, len(notifications))
	var call bulk
	for at, notification := range notifications {
		request, err := json.Marshal(keyed(notification))
		if err != nil {
			results[at].Err = fmt.Errorf("tocsin: %w", err)
			continue
		}
		if !call.hasRoomFor(request) {
			c.sendBulk(ctx, call, results)
			call = bulk{}
		}
		call.add(at, request)
	}
	if len(call.requests) > 0 {
		c.sendBulk(ctx, call, results)
	}
	return results
}

// Cancel takes back what isn't sent yet of a notification.
func (c *Client) Cancel(ctx context.Context, notificationID string) (*answers.Cancelling, error) {
	return c.DeleteNotificationsID(ctx, notificationID, Idempotent(), WithHeader("Idempotency-Key", newKey()))
}

// UploadCampaign makes a campaign of rows that are streamed, as "application/x-ndjson" or "text/csv". It is tried once:
// after an error upload the same again with the same CampaignID. The context says how long it may take.
func (c *Client) UploadCampaign(ctx context.Context, terms PostCampaignsQuery, mediaType string, rows io.Reader) (*answers.CampaignTaken, error) {
	request, err := c.request(ctx, http.MethodPost, c.url+"/v1/campaigns?"+terms.values().Encode(), rows)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", mediaType)
	status, header, body, err := c.exchange(request)
	if err != nil {
		return nil, err
	}
	answer := new(answers.CampaignTaken)
	return answer, c.read(status, header, body, answer)
}

// Pages is each item of a list that comes in pages, until an error or the end. page fetches the one that begins at the
// cursor, and returns its items and the next cursor.
func Pages[T any](page func(cursor string) ([]T, string, error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for cursor, isFirst := "", true; isFirst || cursor != ""; isFirst = false {
			items, next, err := page(cursor)
			if err != nil {
				var none T
				yield(none, err)
				return
			}
			for _, item := range items {
				if !yield(item, nil) {
					return
				}
			}
			cursor = next
		}
	}
}

// --- many at once ---

type bulk struct {
	// places are where its results belong.
	places   []int
	requests []json.RawMessage
	bytes    int
}

func (b *bulk) hasRoomFor(request []byte) bool {
	return len(b.requests) == 0 || len(b.requests) < mostRequests && b.bytes+len(request) < mostBytes
}

func (b *bulk) add(place int, request []byte) {
	b.places = append(b.places, place)
	b.requests = append(b.requests, request)
	b.bytes += len(request) + 1
}

func (c *Client) sendBulk(ctx context.Context, call bulk, results []Result) {
	var answer struct {
		Results []json.RawMessage `json:"results"`
	}
	body := map[string]any{"requests": call.requests}
	err := c.call(ctx, "POST /v1/notifications/bulk", nil, nil, body, []CallOption{Idempotent()}, &answer)
	if err == nil && len(answer.Results) != len(call.requests) {
		err = fmt.Errorf("%w: there isn't one result for each request", ErrBadAnswer)
	}
	for at, place := range call.places {
		if err != nil {
			results[place].Err = err
			continue
		}
		results[place] = resultOf(answer.Results[at])
	}
}

func resultOf(raw json.RawMessage) Result {
	var document map[string]any
	if err := decode(raw, &document); err != nil {
		return Result{Err: err}
	}
	if _, isAccepted := document["notification_id"]; !isAccepted {
		number, _ := document["status"].(json.Number)
		status, _ := number.Int64()
		return Result{Err: problemOf(int(status), document, 0)}
	}
	accepted := new(answers.Accepted)
	if err := decode(raw, accepted); err != nil {
		return Result{Err: err}
	}
	return Result{Accepted: accepted}
}

func keyed(notification bodies.Notification) bodies.Notification {
	if notification.IdempotencyKey == "" {
		notification.IdempotencyKey = newKey()
	}
	return notification
}

func newKey() string {
	var key [16]byte
	rand.Read(key[:])
	return hex.EncodeToString(key[:])
}

// --- one call ---

// A CallOption changes how one call is made.
type CallOption func(*callOptions)

type callOptions struct {
	isIdempotent bool
	header       http.Header
}

// Idempotent says that the call may be made twice, so that it is made again where an answer was lost. By itself only
// what surely may is.
func Idempotent() CallOption {
	return func(o *callOptions) { o.isIdempotent = true }
}

// WithHeader sets a header.
func WithHeader(name, value string) CallOption {
	return func(o *callOptions) { o.header.Set(name, value) }
}

// isRepeatable: what may be made twice by itself. Each new template or policy makes a version.
func isRepeatable(operation string) bool {
	switch operation {
	case "PUT /v1/templates/{id}", "PUT /v1/policy":
		return false
	}
	return strings.HasPrefix(operation, "GET ") || strings.HasPrefix(operation, "PUT ")
}

func answerOf[T any](ctx context.Context, c *Client, operation string, path []string, query url.Values, body any, options []CallOption) (*T, error) {
	var answer *T
	if err := c.call(ctx, operation, path, query, body, options, &answer); err != nil {
		return nil, err
	}
	return answer, nil
}

// call makes an operation, "GET /v1/users/{id}", with the values of its path. into: nil where there is no answer.
func (c *Client) call(ctx context.Context, operation string, path []string, query url.Values, body any, options []CallOption, into any) error {
	given := callOptions{isIdempotent: isRepeatable(operation), header: http.Header{}}
	for _, option := range options {
		option(&given)
	}
	method, template, _ := strings.Cut(operation, " ")
	target, err := filled(template, path)
	if err != nil {
		return err
	}
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	var raw []byte
	if body != nil {
		if raw, err = json.Marshal(body); err != nil {
			return fmt.Errorf("tocsin: %w", err)
		}
	}
	over := c.now().Add(c.retrying.Total)
	for attempts := 1; ; attempts++ {
		status, asked, err := c.attempt(ctx, method, c.url+target, raw, given.header, over, into)
		if err == nil || errors.Is(err, errNotMade) || errors.Is(err, ErrBadAnswer) || ctx.Err() != nil {
			return err
		}
		pause, again := c.retrying.pauseAfter(attempts, over.Sub(c.now()), status, asked, given.isIdempotent)
		if !again || c.sleep(ctx, pause) != nil {
			return err
		}
	}
}

// attempt makes the call once. It returns the status, noAnswer where none came, and what pause the gateway asks for.
func (c *Client) attempt(ctx context.Context, method, target string, raw []byte, header http.Header, over time.Time, into any) (int, time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, max(time.Millisecond, min(over.Sub(c.now()), c.retrying.Timeout)))
	defer cancel()
	var body io.Reader
	if raw != nil {
		body = bytes.NewReader(raw)
	}
	request, err := c.request(ctx, method, target, body)
	if err != nil {
		return noAnswer, 0, err
	}
	if raw != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	for name := range header {
		request.Header.Set(name, header.Get(name))
	}
	status, answered, text, err := c.exchange(request)
	if err != nil {
		return noAnswer, 0, err
	}
	return status, retryAfter(answered, c.now()), c.read(status, answered, text, into)
}

// errNotMade: a call that can't be made is the caller's own, and no lost answer.
var errNotMade = errors.New("the call wasn't made")

func (c *Client) request(ctx context.Context, method, target string, body io.Reader) (*http.Request, error) {
	key, err := c.key(ctx)
	if err == nil {
		err = checkKey(key)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNotMade, err)
	}
	request, err := http.NewRequestWithContext(ctx, method, target, body)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNotMade, err)
	}
	request.Header.Set("Authorization", "Bearer "+key)
	request.Header.Set("Accept", "application/json")
	return request, nil
}

func (c *Client) exchange(request *http.Request) (int, http.Header, []byte, error) {
	response, err := c.http.Do(request)
	if err != nil {
		return noAnswer, nil, nil, &UnreachableError{err}
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, mostAnswerBytes+1))
	if err != nil {
		return noAnswer, nil, nil, &UnreachableError{err}
	}
	if len(text) > mostAnswerBytes {
		return noAnswer, nil, nil, fmt.Errorf("%w: it has more than %d bytes", ErrBadAnswer, mostAnswerBytes)
	}
	return response.StatusCode, response.Header, text, nil
}

func (c *Client) read(status int, header http.Header, text []byte, into any) error {
	if status >= 200 && status < 300 {
		if into == nil || status == http.StatusNoContent {
			return nil
		}
		if bytes.Equal(bytes.TrimSpace(text), []byte("null")) {
			return fmt.Errorf("%w: it is null", ErrBadAnswer)
		}
		return decode(text, into)
	}
	var document map[string]any
	if decode(text, &document) != nil || document == nil {
		document = map[string]any{"detail": "the answer is not the gateway's: is something in between?"}
	}
	return problemOf(status, document, retryAfter(header, c.now()))
}

func decode(text []byte, into any) error {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	err := decoder.Decode(into)
	if err == nil && decoder.More() {
		err = errors.New("something follows the JSON")
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrBadAnswer, err)
	}
	return nil
}

// filled is the path with its values.
func filled(template string, values []string) (string, error) {
	var path strings.Builder
	for _, value := range values {
		before, rest, _ := strings.Cut(template, "{")
		name, after, _ := strings.Cut(rest, "}")
		if value == "" || value == "." || value == ".." {
			return "", fmt.Errorf("tocsin: %s can't be %q", name, value)
		}
		path.WriteString(before + url.PathEscape(value))
		template = after
	}
	return path.String() + template, nil
}

// checkKey doesn't show the key.
func checkKey(key string) error {
	isBad := func(char rune) bool { return char < '!' || char > '~' }
	if key == "" || strings.ContainsFunc(key, isBad) {
		return errors.New("tocsin: key is an API key (ID.SECRET) or a user's token: printable ASCII without blanks")
	}
	return nil
}

func sleep(ctx context.Context, pause time.Duration) error {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
