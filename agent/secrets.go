package agent

import (
	"nightporter/cluster"
	"nightporter/config"
)

// loadKeys reads the secret file: the first secret is used, the second one is accepted as well.
func loadKeys(cfg *config.Config) (cluster.Keys, error) {
	secrets, err := config.ReadSecrets(cfg.SecretFile)
	if err != nil {
		return cluster.Keys{}, err
	}
	return cluster.DeriveAll(secrets, cfg.Cluster)
}

// SecretIDs gives the short names of secrets in a cluster, as status has them.
func SecretIDs(secrets [][]byte, clusterName string) ([]string, error) {
	keys, err := cluster.DeriveAll(secrets, clusterName)
	if err != nil {
		return nil, err
	}
	return keys.IDs(), nil
}

// secretsOf is what a node last said of its secrets; empty where this agent has never met it, or its version does not say.
func (b *backend) secretsOf(node string) []string {
	if m, met := b.member(node); met && m.Meta.Secrets != nil {
		return m.Meta.Secrets
	}
	return []string{}
}
