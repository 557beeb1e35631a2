package tocsin

import (
	"errors"
	"os"
	"strings"
	"testing"

	"tocsin/bodies"
)

// gatewayOf is the real one, which tests/unit/clients/test_golang.py serves.
func gatewayOf(t *testing.T, key string) *Client {
	t.Helper()
	if os.Getenv("TOCSIN_URL") == "" {
		t.Skip("TOCSIN_URL, TOCSIN_KEY and TOCSIN_ADMIN aren't set")
	}
	client, err := New(os.Getenv("TOCSIN_URL"), os.Getenv(key))
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func TestTheGatewayTakesANotificationAndManyAndCancelsOne(t *testing.T) {
	client := gatewayOf(t, "TOCSIN_KEY")
	full := bodies.Notification{UserID: "ann", EventType: "order.shipped", Content: &bodies.Content{Title: "Hello", Body: "Ann"}}
	taken, err := client.Send(t.Context(), full)
	if err != nil || taken.Recipients != 1 || taken.Status != "accepted" {
		t.Fatal(taken, err)
	}
	other, nobody := full, full
	other.UserID, nobody.UserID = "bob", ""
	results := client.SendMany(t.Context(), []bodies.Notification{full, other, nobody})
	var refused *ProblemError
	if results[0].Err != nil || results[1].Err != nil || !errors.As(results[2].Err, &refused) || refused.Status != 400 {
		t.Error(results)
	}
	if cancelling, err := client.Cancel(t.Context(), taken.NotificationID); err != nil || cancelling.NotificationID != taken.NotificationID {
		t.Error(cancelling, err)
	}
}

func TestTheGatewaysRefusalNamesTheField(t *testing.T) {
	_, err := gatewayOf(t, "TOCSIN_KEY").Send(t.Context(), bodies.Notification{UserID: "ann", EventType: "no type"})
	var refused *ProblemError
	if !errors.As(err, &refused) || refused.Status != 400 || refused.Field != "event_type" {
		t.Error(err)
	}
}

func TestTheGatewayMergesAChangeOfAProfile(t *testing.T) {
	client := gatewayOf(t, "TOCSIN_ADMIN")
	profile, err := client.PatchUsersIDProfile(t.Context(), "a/b", bodies.ProfileSet{
		Name: bodies.Set("Ann"), Locale: bodies.Set("en"), Attributes: bodies.Set(map[string]any{"plan": "gold"}),
	})
	if err != nil || profile.Name != "Ann" || profile.Attributes["plan"] != "gold" {
		t.Fatal(profile, err)
	}
	profile, err = client.PatchUsersIDProfile(t.Context(), "a/b", bodies.ProfileSet{Name: bodies.Remove[string]()})
	if err != nil || profile.Name != "" || profile.Locale != "en" {
		t.Error(profile, err)
	}
}

func TestTheGatewayTakesAnUpload(t *testing.T) {
	terms := PostCampaignsQuery{CampaignID: "summer", EventType: "offer.summer", Content: `{"title": "Summer", "body": "It is here."}`}
	rows := strings.NewReader("user_id,name\nann,Ann\nbob,Bob\n")
	taken, err := gatewayOf(t, "TOCSIN_KEY").UploadCampaign(t.Context(), terms, "text/csv", rows)
	if err != nil || taken.CampaignID != "summer" {
		t.Error(taken, err)
	}
}
