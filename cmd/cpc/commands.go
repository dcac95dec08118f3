// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

// The commands, by noun. Each of these types has the commands of one noun and what
// only they need; what several nouns need (the engine, the store, registries, what
// config.toml says) is app's.
type (
	// sandboxCommands run sandboxes and look after them.
	sandboxCommands struct{ *app }
	// imageCommands are about the image store.
	imageCommands struct{ *app }
	// registryCommands are about registries alone: what they have, and as whom.
	registryCommands struct{ *app }
	// contentCommands say what an image contains, and which advisories apply to that.
	contentCommands struct{ *app }
	// buildCommands build images and look after the build cache.
	buildCommands struct{ *app }
	// netCommands are about what sandboxes may reach.
	netCommands struct{ *app }
	// systemCommands are about cpc and this machine as a whole.
	systemCommands struct{ *app }
	// inspectCommands show everything about one thing of any kind.
	inspectCommands struct{ *app }
)
