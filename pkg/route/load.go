package route

// Load returns how many pods of a Service currently serve as many new clients as percent of the
// Route's. If the Service has no share, it counts pods of all Services that have one.
func Load(originals []Backend, service string, percent Percent) float64 {
	shares, pods, all := Shares(originals), 0, 0
	share := shares[service]
	for _, b := range originals {
		if shares[b.Service] > 0 {
			all += b.pods()
		}
		if b.Service == service {
			pods = b.pods()
		}
	}
	if share == 0 {
		return float64(percent.Share()) * float64(all)
	}
	return float64(percent.Share()) * float64(pods) / float64(share)
}
