// The real ExternalDNS, built from its released module.
package main

import (
	_ "k8s.io/client-go/plugin/pkg/client/auth"

	"sigs.k8s.io/external-dns/controller"
)

func main() {
	controller.Execute()
}
