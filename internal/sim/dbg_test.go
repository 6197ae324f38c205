package sim

import (
	"os"
	"runtime/pprof"
	"time"
)

func init() {
	if p := os.Getenv("DBG_PROF"); p != "" {
		go func() {
			time.Sleep(6 * time.Second)
			f, _ := os.Create(p)
			pprof.StartCPUProfile(f)
			time.Sleep(4 * time.Second)
			pprof.StopCPUProfile()
			f.Close()
			os.Exit(3)
		}()
	}
}
