package tocsin

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"
)

const event = `{"type": "notification.sent", "timestamp": "t", "data": {"event_id": "e1", "status": "sent"}}`

func secretOf(text string) string {
	return "whsec_" + base64.StdEncoding.EncodeToString([]byte(strings.Repeat(text, 24)))
}

func signature(secret, signed string) string {
	key, _ := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(signed))
	return "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

func headers(id, at, signature string) http.Header {
	header := http.Header{}
	header.Set("Webhook-Id", id)
	header.Set("webhook-timestamp", at)
	header.Set("WEBHOOK-SIGNATURE", signature)
	return header
}

func verifier(t *testing.T, now int64, secrets ...string) *Webhooks {
	t.Helper()
	webhooks, err := NewWebhooks(secrets...)
	if err != nil {
		t.Fatal(err)
	}
	webhooks.now = func() time.Time { return time.Unix(now, 0) }
	return webhooks
}

// The example of the Standard Webhooks specification's own libraries.
func TestTheSpecificationsExampleIsVerified(t *testing.T) {
	body := `{"test": 2432232314}`
	header := headers("msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=")
	webhooks := verifier(t, 1614265330, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	begin := header.Get("webhook-id") + "." + header.Get("webhook-timestamp") + "."
	if !webhooks.isSigned(begin, []byte(body), header.Get("webhook-signature")) {
		t.Error("not verified")
	}
	if _, err := webhooks.Verify(header, []byte(body)); !errors.Is(err, ErrWebhook) || !strings.Contains(err.Error(), "no event") {
		t.Error(err)
	}
}

func TestACallOfTocsinsIsTakenWithAnyOfTheSecrets(t *testing.T) {
	secret, other := secretOf("s"), secretOf("t")
	good := signature(secret, "e1.1000."+event)
	for _, given := range []string{good, "v1a,x v1,! v2," + good[3:] + " " + good, "v1, " + good} {
		for _, now := range []int64{700, 1000, 1300} {
			found, err := verifier(t, now, other, secret).Verify(headers("e1", "1000", given), []byte(event))
			if err != nil || found.Data.EventID != "e1" || found.Type != "notification.sent" {
				t.Error(given, now, err)
			}
		}
	}
}

func TestAnyOtherCallIsRefused(t *testing.T) {
	secret := secretOf("s")
	good := signature(secret, "e1.1000."+event)
	for name, each := range map[string]struct {
		header http.Header
		body   string
		now    int64
	}{
		"too late":        {headers("e1", "1000", good), event, 1301},
		"too early":       {headers("e1", "1000", good), event, 699},
		"another body":    {headers("e1", "1000", good), event + " ", 1000},
		"another id":      {headers("e2", "1000", good), event, 1000},
		"another time":    {headers("e1", "1001", good), event, 1000},
		"another version": {headers("e1", "1000", "v2,"+good[3:]), event, 1000},
		"no version":      {headers("e1", "1000", good[3:]), event, 1000},
		"another key":     {headers("e1", "1000", signature(secretOf("t"), "e1.1000."+event)), event, 1000},
		"no number":       {headers("e1", "1e3", good), event, 1000},
		"far away":        {headers("e1", "99999999999999999999", good), event, 1000},
		"below zero":      {headers("e1", "-1000", good), event, 1000},
		"nothing":         {http.Header{}, event, 1000},
		"the 33rd":        {headers("e1", "1000", strings.Repeat("v1,x ", 32)+good), event, 1000},
		"no event":        {headers("e1", "1000", signature(secret, "e1.1000.{}")), "{}", 1000},
		"no JSON":         {headers("e1", "1000", signature(secret, "e1.1000.x")), "x", 1000},
	} {
		if found, err := verifier(t, each.now, secret).Verify(each.header, []byte(each.body)); !errors.Is(err, ErrWebhook) || found != nil {
			t.Error(name, found, err)
		}
	}
}

func TestASecretThatIsNoneIsRefused(t *testing.T) {
	for _, bad := range [][]string{{}, {""}, {"whsec_"}, {"whsec_!"}, {secretOf("s"), "x"}, {"whsec_" + strings.Repeat("QUFB", 400)}} {
		if _, err := NewWebhooks(bad...); err == nil {
			t.Error(bad)
		}
	}
}
