// Command count is what the steps of count.yaml run: a program that needs nothing around it.
package main

import (
	"encoding/json"
	"fmt"
	"log"
	"os"
	"path/filepath"
)

func read(file string, into any) {
	data, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(data, into)
	}
	if err != nil {
		log.Fatal(err)
	}
}

func write(name string, value any) {
	data, err := json.Marshal(value)
	if err == nil {
		err = os.WriteFile(filepath.Join(os.Getenv("MF_OUTPUTS"), name+".json"), data, 0o644)
	}
	if err != nil {
		log.Fatal(err)
	}
}

func main() {
	inputs := os.Getenv("MF_INPUTS")
	switch os.Args[1] {
	case "list":
		write("words", []string{"one", "three", "eleven"})
	case "measure":
		var word string
		read(filepath.Join(inputs, "item.json"), &word)
		write("length", len(word))
	case "sum":
		total := 0
		files, _ := filepath.Glob(filepath.Join(inputs, "*", "length.json"))
		for _, file := range files {
			var n int
			read(file, &n)
			total += n
		}
		write("total", total)
	case "report":
		var total int
		read(filepath.Join(inputs, "total.json"), &total)
		fmt.Println("total", total)
	}
}
