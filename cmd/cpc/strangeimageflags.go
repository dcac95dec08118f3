// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import "slices"

// strangeOfImages are those of commands about images.
func strangeOfImages() map[string][]strange {
	return map[string][]strange{
		"images": {{"tree", "bool false", "the platforms of an image are shown by: cpc inspect IMAGE"}, {"history", "bool false", "names that an image had are not kept"}, {"noheading", "", "choose fields, which come without a heading, with --format '{{.ID}}'"}, {"sort", "", "sort them with: cpc images --format '{{.Repository}}:{{.Tag}}' | sort"}},
		"rmi":    {{"platform", "", "remove it under its name or id"}, {"all a", "", "remove all that nothing uses with: cpc image prune -a"}, {"ignore i", "", "with --force an image that is not there is no error"}},
		"pull": slices.Concat(strangeRegistry(), []strange{
			{"arch", "", noPlatform}, {"os", "", noPlatform}, {"variant", "", noPlatform}, {"policy", "always", "cpc pull asks the registry always; cpc run --pull has a choice"}, {"decryption-key", "", "images are not encrypted"},
		}),
		"push": slices.Concat(strangeRegistry(), []strange{
			{"compression-format", "gzip", "layers are pushed as they are stored"},
			{"compression-level", "", "layers are pushed as they are stored"},
			{"force-compression", "bool false", "layers are pushed as they are stored"},
			{"digestfile", "", "the digest is printed: cpc push IMAGE > FILE"},
			{"encrypt-layer", "", "images are not encrypted"},
			{"encryption-key", "", "images are not encrypted"},
			{"format f", "", "what is pushed is as it is stored"},
			{"remove-signatures", "bool *", ""},
			{"sign-by", "", noSigning},
			{"sign-by-sigstore", "", noSigning},
			{"sign-by-sigstore-private-key", "", noSigning},
			{"sign-passphrase-file", "", noSigning},
		}),
		"search": {{"filter f", "", "cpc search lists the tags of one repository"}, {"no-trunc", "bool *", ""}, {"compatible", "bool *", ""}, {"tls-verify", "bool true", noCerts}, {"authfile", "", noLogin}, {"creds", "", noLogin}, {"cert-dir", "", noCerts}},
		"save":   {{"quiet q", "bool *", ""}, {"compress", "bool false", "compress it on the way: cpc save IMAGE | zstd > FILE"}, {"multi-image-archive m", "bool *", ""}, {"uncompressed", "bool *", ""}},
		"load":   {{"signature-policy", "", noTrust}},
		"import": {{"quiet q", "bool *", ""}, {"arch", "", noPlatform}, {"os", "", noPlatform}, {"variant", "", noPlatform}},
		"login":  {{"authfile", "", "credentials are in docker's config.json, in the directory that DOCKER_CONFIG names"}, {"compat-auth-file", "", "credentials are in docker's config.json, in the directory that DOCKER_CONFIG names"}, {"tls-verify", "bool true", noCerts}, {"cert-dir", "", noCerts}, {"get-login", "", "who is logged in is in docker's config.json"}, {"verbose v", "bool *", ""}, {"secret", "", "give the password with --password-stdin"}},
		"logout": {{"all a", "", "name the servers, one after the other"}, {"authfile", "", "credentials are in docker's config.json, in the directory that DOCKER_CONFIG names"}},
	}
}

func strangeRegistry() []strange {
	return []strange{
		{"disable-content-trust", "bool true", noTrust},
		{"tls-verify", "bool true", noCerts},
		{"authfile", "", noLogin},
		{"creds", "", noLogin},
		{"cert-dir", "", noCerts},
		{"retry", "*", ""},
		{"retry-delay", "*", ""},
		{"signature-policy", "", noTrust},
	}
}

// strangeBuild are of docker build, docker buildx build and podman build.
func strangeBuild() []strange {
	return slices.Concat(strangeRegistry(), strangePodmanBuild(), []strange{
		{"rm", "bool *", ""},
		{"force-rm", "bool *", ""},
		{"compress", "bool *", ""},
		{"isolation", "default oci rootless chroot", noWindows},
		{"cgroup-parent", "", noCgroup},
		{"security-opt", "", "a step's filter of system calls stays. Steps that need more: --allow"},
		{"squash", "bool false", noNewer},
		{"squash-all", "bool false", noNewer},
		{"stream", "bool *", ""},
		{"builder", "*", ""},
		{"debug D", "bool false", noDebugging},
		{"attest", "bool *", ""},
		{"provenance", "bool *", ""},
		{"policy", "", "what a build may reach is said by --egress"},
		{"volume v", "", "a step sees the context and its own files. Use RUN --mount=type=bind, cache or secret"},
		{"device", "", noDevices},
		{"print", "", "use --call or --check"},
		{"root", "", "use --call or --check"},
		{"server-config", "", noRemote},
	})
}

// strangePodmanBuild are of podman build only, but for the network.
func strangePodmanBuild() []strange {
	return slices.Concat(strangePodmanSteps(), []strange{
		{"arch", "", noPlatform},
		{"os", "", noPlatform},
		{"variant", "", noPlatform},
		{"os-feature", "", noPlatform},
		{"os-version", "", noPlatform},
		{"layers", "bool *", ""},
		{"cache-ttl", "", "remove what is old with: cpc builder prune --filter until=24h"},
		{"format", "oci", "images are built as OCI images. Convert with: cpc save --format docker-archive"},
		{"all-platforms", "bool false", "name the platforms: --platform linux/amd64,linux/arm64"},
		{"build-arg-file", "", "give them one by one: --build-arg NAME=VALUE"},
		{"jobs", "*", ""},
		{"from", "", "take an ARG into the FROM line, and set it with --build-arg"},
		{"ignorefile", "", "write it beside the Dockerfile, as DOCKERFILE.dockerignore"},
		{"env", "", "set it with ENV in the Dockerfile"},
		{"unsetenv", "", "set it with ENV in the Dockerfile"},
		{"unsetlabel", "", "set it with LABEL in the Dockerfile"},
		{"identity-label", "bool false", "label it with --label"},
		{"inherit-labels", "bool true", "set labels with --label"},
		{"logfile", "", "use: cpc build … 2> FILE"},
		{"manifest", "", "name the image with --tag; for several platforms it is an index"},
		{"omit-history", "bool false", "what was done is part of the image: cpc history"},
		{"rewrite-timestamp", "bool false", "set SOURCE_DATE_EPOCH: --build-arg SOURCE_DATE_EPOCH=SECONDS"},
		{"timestamp", "", "set SOURCE_DATE_EPOCH: --build-arg SOURCE_DATE_EPOCH=SECONDS"},
		{"source-date-epoch", "", "use: --build-arg SOURCE_DATE_EPOCH=SECONDS"},
		{"sign-by", "", noSigning},
		{"skip-unused-stages", "bool true", "all that the target needs is built"},
		{"decryption-key", "", "images are not encrypted"},
		{"cw", "", "images are not encrypted"},
		{"cpp-flag", "", "a Dockerfile is not run through a preprocessor"},
		{"created-annotation", "bool *", ""},
		{"inherit-annotations", "bool *", ""},
		{"layer-label", "", "label the image: --label"},
		{"sbom-output", "", "print it with: cpc sbom IMAGE"},
		{"sbom-image-output", "", "it is attached to the image: cpc sbom IMAGE"},
		{"disable-compression", "bool *", ""},
		{"unsetannotation", "", "annotate with --annotation"},
	})
}

// strangePodmanSteps are those of podman build about the containers of steps.
func strangePodmanSteps() []strange {
	return []strange{
		{"cap-add", "", "a step has docker's capabilities, and no more"},
		{"cap-drop", "", "a step has docker's capabilities"},
		{"dns", "", "a step asks cpc for names, and cpc asks as this host does"},
		{"dns-search", "", "a step asks cpc for names, and cpc asks as this host does"},
		{"dns-option", "", "a step asks cpc for names, and cpc asks as this host does"},
		{"http-proxy", "bool false", "let steps use the host's proxies with --proxy"},
		{"pid", "private", noShared},
		{"ipc", "private", noShared},
		{"uts", "private", noShared},
		{"cgroupns", "private", noShared},
		{"userns", "private auto", noShared},
		{"userns-uid-map", "", noIDs},
		{"userns-gid-map", "", noIDs},
		{"userns-uid-map-user", "", noIDs},
		{"userns-gid-map-group", "", noIDs},
		{"group-add", "", "a step runs as the Dockerfile's USER"},
		{"hooks-dir", "", noHooks},
		{"no-hostname", "bool *", ""},
		{"no-hosts", "bool false", noEtcFiles},
		{"runtime-flag", "", "flags are those that cpc gives the runtime"},
		{"stdin", "bool false", "a step has no standard input"},
		{"network-alias", "", noAddress},
		{"memory-swappiness", "-1 0", noTuning},
	}
}
