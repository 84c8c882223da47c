// Receives files: verifies each signature, and puts each body under its webhook-id into the directory INBOX.
package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

var inbox = os.Getenv("INBOX")
var secret, badSecret = base64.StdEncoding.DecodeString(strings.TrimPrefix(os.Getenv("WEBHOOK_SECRET"), "whsec_"))

func isSigned(header http.Header, body []byte) bool {
	id, seconds := header.Get("webhook-id"), header.Get("webhook-timestamp")
	mac := hmac.New(sha256.New, secret)
	fmt.Fprintf(mac, "%s.%s.%s", id, seconds, body)
	expected := "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
	at, err := strconv.ParseInt(seconds, 10, 64)
	matches := false
	for _, one := range strings.Split(header.Get("webhook-signature"), " ") {
		matches = hmac.Equal([]byte(one), []byte(expected)) || matches
	}
	return err == nil && time.Since(time.Unix(at, 0)).Abs() <= 5*time.Minute && matches
}

// Every attempt has the same id and the same bytes: the second time changes nothing.
func keep(id string, body []byte) error {
	file, err := os.CreateTemp(inbox, ".")
	if err != nil {
		return err
	}
	defer file.Close()
	if _, err := file.Write(body); err != nil {
		return err
	}
	if err := file.Sync(); err != nil {
		return err
	}
	return os.Rename(file.Name(), filepath.Join(inbox, id))
}

func receive(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
	if err != nil {
		http.Error(w, "the body is too large, or was cut", http.StatusRequestEntityTooLarge)
	} else if !isSigned(r.Header, body) {
		http.Error(w, "the signature is missing, wrong or too old", http.StatusUnauthorized)
	} else if err := keep(r.Header.Get("webhook-id"), body); err != nil {
		http.Error(w, "it is not known whether it was taken", http.StatusInternalServerError)
	} else {
		w.Header().Set("content-type", "application/json")
		fmt.Fprintf(w, `{"result":"ok","received_digest":"sha256:%x"}`, sha256.Sum256(body))
	}
}

func main() {
	listener, err := net.Listen("tcp", "127.0.0.1:"+os.Getenv("PORT"))
	if err != nil || badSecret != nil {
		log.Fatal("PORT, INBOX and WEBHOOK_SECRET say where it listens, what it fills and what it verifies by: ", err, badSecret)
	}
	fmt.Printf("http://%s/\n", listener.Addr())
	log.Fatal(http.Serve(listener, http.HandlerFunc(receive)))
}
