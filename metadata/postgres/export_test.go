package postgres

// Address is where a store's database is.
func Address(s *Store) string { return s.pool.Config().ConnString() }
