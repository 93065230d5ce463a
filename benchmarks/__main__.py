from benchmarks import recovery

recovery.main()
