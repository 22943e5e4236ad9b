package route

// Load says for how many servers of a Service a percentage of the Route's new clients is
// the work, by what they carry now. Where the Service carries nothing, the average of all
// that do counts.
func Load(originals []Backend, service string, percent Percent) float64 {
	shares, servers, all := Shares(originals), 0, 0
	share := shares[service]
	for _, b := range originals {
		if shares[b.Service] > 0 {
			all += b.Ready
		}
		if b.Service == service {
			servers = b.Ready
		}
	}
	if share == 0 {
		return float64(percent.Share()) * float64(all)
	}
	return float64(percent.Share()) * float64(servers) / float64(share)
}
