// Reads pictures of one digit each, with Go and its standard library.
//
//	go run read_digit.go http://localhost:8000 digits/3.png digits/7.png
package main

import (
	"encoding/json"
	"fmt"
	"log"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

// Answer has the fields of an answer that we use, and the detail of an error.
type Answer struct {
	Digit    *int // nil if the picture has no ink
	Accepted bool
	Reason   string
	Detail   string
}

var client = http.Client{Timeout: 30 * time.Second}

func read(url, name string) (answer Answer, err error) {
	picture, err := os.Open(name)
	if err != nil {
		return answer, err
	}
	defer picture.Close()
	response, err := client.Post(url+"/predict", "application/octet-stream", picture)
	if err != nil {
		return answer, err
	}
	defer response.Body.Close()
	err = json.NewDecoder(response.Body).Decode(&answer)
	return answer, err
}

func main() {
	for _, name := range os.Args[2:] {
		answer, err := read(os.Args[1], name)
		if err != nil {
			log.Fatal(err)
		}
		if answer.Accepted {
			fmt.Printf("%s: %d\n", filepath.Base(name), *answer.Digit)
		} else {
			fmt.Printf("%s: not accepted: %s%s\n", filepath.Base(name), answer.Reason, answer.Detail)
		}
	}
}
