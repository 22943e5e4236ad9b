package session

import "testing"

func TestOpenConnectionsAreCountedByPort(t *testing.T) {
	table := `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1
   1: 0A57000C:1F90 0A570001:C001 01 00000000:00000000 02:00000000 00000000     0        0 2 1
   2: 0A57000C:1F90 0A570001:C002 06 00000000:00000000 03:00000000 00000000     0        0 0 3
   3: 0A57000C:C005 0A570002:1F90 01 00000000:00000000 00:00000000 00000000     0        0 4 1
  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0000000000000000FFFF00000C00570A:1F90 0000000000000000FFFF00000100570A:C003 01 00000000:00000000 00:00000000 00000000     0        0 5 1
   1: 0000000000000000FFFF00000C00570A:1F91 0000000000000000FFFF00000100570A:C004 01 00000000:00000000 00:00000000 00000000     0        0 6 1
`
	if n := countEstablished(table, []int32{8080}); n != 2 {
		t.Errorf("got %d connections, want 2: listening, waiting and outgoing ones do not count", n)
	}
}
