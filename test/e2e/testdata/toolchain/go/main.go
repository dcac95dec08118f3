// Command greet is what the toolchain test builds.
package main

import "fmt"

var version = "unset"

func main() { fmt.Println("hello from go,", version) }
