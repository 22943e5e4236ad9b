package gadget

//go:generate go run ./generate
