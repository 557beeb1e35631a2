package tocsin

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"tocsin/answers"
)

const (
	mostSignatures  = 32
	mostSecretBytes = 1024
)

// A WebhookEvent is what a hook is called with. The same event may come again, with the same Data.EventID.
type WebhookEvent struct {
	// Type is "notification.sent", for instance.
	Type      string                 `json:"type"`
	Timestamp string                 `json:"timestamp"`
	Data      answers.LifecycleEvent `json:"data"`
}

// Webhooks verifies Tocsin's calls to a service's webhook, as the Standard Webhooks specification has it.
type Webhooks struct {
	// Tolerance is how far away a call's time may be: somebody may have recorded it.
	Tolerance time.Duration
	keys      [][]byte
	now       func() time.Time
}

// NewWebhooks takes a hook's secret, or several while it is rotated.
func NewWebhooks(secrets ...string) (*Webhooks, error) {
	if len(secrets) == 0 {
		return nil, errors.New("tocsin: give at least one secret")
	}
	webhooks := &Webhooks{Tolerance: 5 * time.Minute, now: time.Now}
	for _, secret := range secrets {
		key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
		if err != nil || len(key) == 0 || len(key) > mostSecretBytes {
			return nil, errors.New("tocsin: a secret is whsec_ and base64, as POST /v1/hooks answered")
		}
		webhooks.keys = append(webhooks.keys, key)
	}
	return webhooks, nil
}

// Verify returns the event of a call that Tocsin has made; of any other, an error that is ErrWebhook. body: as it came.
func (w *Webhooks) Verify(header http.Header, body []byte) (*WebhookEvent, error) {
	id, at, signatures := header.Get("webhook-id"), header.Get("webhook-timestamp"), header.Get("webhook-signature")
	if id == "" || at == "" || signatures == "" {
		return nil, fmt.Errorf("%w: webhook-id, webhook-timestamp and webhook-signature are required", ErrWebhook)
	}
	unix, err := strconv.ParseUint(at, 10, 40)
	if err != nil {
		return nil, fmt.Errorf("%w: webhook-timestamp is not in Unix seconds", ErrWebhook)
	}
	if w.now().Sub(time.Unix(int64(unix), 0)).Abs() > w.Tolerance {
		return nil, fmt.Errorf("%w: webhook-timestamp is too far away: is this machine's clock right?", ErrWebhook)
	}
	if !w.isSigned(id+"."+at+".", body, signatures) {
		return nil, fmt.Errorf("%w: the signature is wrong", ErrWebhook)
	}
	event := new(WebhookEvent)
	if err := decode(body, event); err != nil || event.Type == "" || event.Data.EventID == "" {
		return nil, fmt.Errorf("%w: signed, but no event of Tocsin", ErrWebhook)
	}
	return event, nil
}

func (w *Webhooks) isSigned(begin string, body []byte, signatures string) bool {
	given := strings.Split(signatures, " ")
	for _, key := range w.keys {
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(begin))
		mac.Write(body)
		expected := mac.Sum(nil)
		for _, each := range given[:min(len(given), mostSignatures)] {
			value, isOurs := strings.CutPrefix(each, "v1,")
			signature, err := base64.StdEncoding.DecodeString(value)
			if isOurs && err == nil && hmac.Equal(signature, expected) {
				return true
			}
		}
	}
	return false
}
