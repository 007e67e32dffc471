package service

import (
	"weir/internal/config"
	"weir/internal/config/blocks"
	"weir/internal/session"
)

// DeskRules is what a desk goes by of the configuration in force: vhosts, who may take a
// stream over, and how many may be here.
func DeskRules(conf *config.Store) session.Rules {
	return session.Rules{
		Vhost: func(name string) (string, bool) {
			v, ok := conf.Load().Vhost(name)
			if !ok {
				return "", false
			}
			return v.Name, true
		},
		Preempt: func(vhost string) session.Preempt {
			v, _ := conf.Load().Vhost(vhost)
			switch blocks.Publish.Of(v).Preempt {
			case "on":
				return session.PreemptOn
			case "same_ip":
				return session.PreemptSameIP
			}
			return session.PreemptOff
		},
		Max: func() int { return blocks.Root.In(conf.Load()).MaxConnections },
	}
}
