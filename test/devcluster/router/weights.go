package router

// service is a backend of a Route.
type service struct {
	name    string
	weight  int32 // 0..256
	servers []server
}

// server is one ready endpoint on the Route's port.
type server struct {
	id     string // pod:NAME:SERVICE:PORTNAME:IP:PORT
	ip     string
	port   int32
	cookie string // hex MD5 of id
}

// maxWeight is the largest weight of an HAProxy server.
const maxWeight = 256

// serverWeights returns, for each Service with servers, the weight of each of its servers. A Route
// has weights per Service but HAProxy has them per server, so the router divides a Service's weight
// among its servers and scales all so that the largest is 256. The arithmetic is that of the real
// router, with 32-bit floats and truncation.
func serverWeights(services []service) map[string]int32 {
	weights := map[string]int32{}
	var positive int
	var largest float32
	for _, s := range services {
		if len(s.servers) == 0 {
			continue
		}
		weights[s.name] = 0
		if s.weight > 0 {
			positive++
			largest = max(largest, float32(s.weight)/float32(len(s.servers)))
		}
	}
	for _, s := range services {
		n := len(s.servers)
		if n == 0 || s.weight == 0 {
			continue
		}
		if positive == 1 {
			weights[s.name] = 1
			continue
		}
		scaled := int32(float32(s.weight) / float32(n) * (float32(maxWeight) / largest))
		weights[s.name] = max(scaled, 1)
	}
	return weights
}
