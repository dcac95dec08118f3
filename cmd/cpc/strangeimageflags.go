// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package main

import "slices"

// strangeOfImages are those of commands about images.
func strangeOfImages() map[string][]strange {
	return map[string][]strange{
		"images": {{"tree", "bool false", "show the platforms of an image with: cpc inspect IMAGE"}, {"history", "bool false", "cpc does not keep former names of an image"}, {"noheading", "", "use --format '{{.ID}}', which prints no heading"}, {"sort", "", "to sort by name: cpc images --format '{{.Repository}}:{{.Tag}}' | sort"}},
		"rmi":    {{"platform", "", "remove the image by its name or id"}, {"all a", "", "remove all unused images with: cpc image prune -a"}, {"ignore i", "", "use --force, which ignores images that do not exist"}},
		"pull": slices.Concat(strangeRegistry(), []strange{
			{"arch", "", noPlatform}, {"os", "", noPlatform}, {"variant", "", noPlatform}, {"policy", "always", "cpc pull always asks the registry; cpc run --pull has other choices"}, {"decryption-key", "", "images are not encrypted"},
		}),
		"push": slices.Concat(strangeRegistry(), []strange{
			{"compression-format", "gzip", "cpc pushes layers as they are stored"},
			{"compression-level", "", "cpc pushes layers as they are stored"},
			{"force-compression", "bool false", "cpc pushes layers as they are stored"},
			{"digestfile", "", "cpc push prints the digest: cpc push -q IMAGE > FILE"},
			{"encrypt-layer", "", "images are not encrypted"},
			{"encryption-key", "", "images are not encrypted"},
			{"format f", "", "cpc pushes images as they are stored"},
			{"remove-signatures", "bool *", ""},
			{"sign-by", "", noSigning},
			{"sign-by-sigstore", "", noSigning},
			{"sign-by-sigstore-private-key", "", noSigning},
			{"sign-passphrase-file", "", noSigning},
		}),
		"search": {{"filter f", "", "cpc search lists the tags of one repository"}, {"no-trunc", "bool *", ""}, {"compatible", "bool *", ""}, {"tls-verify", "bool true", noCerts}, {"authfile", "", noLogin}, {"creds", "", noLogin}, {"cert-dir", "", noCerts}},
		"save":   {{"quiet q", "bool *", ""}, {"compress", "bool false", "compress the output: cpc save IMAGE | zstd > FILE"}, {"multi-image-archive m", "bool *", ""}, {"uncompressed", "bool *", ""}},
		"load":   {{"signature-policy", "", noTrust}},
		"import": {{"quiet q", "bool *", ""}, {"arch", "", noPlatform}, {"os", "", noPlatform}, {"variant", "", noPlatform}},
		"login":  {{"authfile", "", "cpc uses docker's config.json. Set its directory with DOCKER_CONFIG"}, {"compat-auth-file", "", "cpc uses docker's config.json. Set its directory with DOCKER_CONFIG"}, {"tls-verify", "bool true", noCerts}, {"cert-dir", "", noCerts}, {"get-login", "", "docker's config.json has the logins"}, {"verbose v", "bool *", ""}, {"secret", "", "pass the password with --password-stdin"}},
		"logout": {{"all a", "", "log out from one server after another: cpc logout SERVER"}, {"authfile", "", "cpc uses docker's config.json. Set its directory with DOCKER_CONFIG"}},
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
		{"security-opt", "", "the system call filter of RUN steps cannot be changed. See --allow"},
		{"squash", "bool false", noNewer},
		{"squash-all", "bool false", noNewer},
		{"stream", "bool *", ""},
		{"builder", "*", ""},
		{"debug D", "bool false", noDebugging},
		{"attest", "bool *", ""},
		{"provenance", "bool *", ""},
		{"policy", "", "set what a build may reach with --egress"},
		{"volume v", "", "a RUN step sees no files of the host. Use RUN --mount=type=bind, cache or secret"},
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
		{"cache-ttl", "", "remove old results with: cpc builder prune --filter until=24h"},
		{"format", "oci", "cpc builds OCI images. Convert them with: cpc save --format docker-archive"},
		{"all-platforms", "bool false", "list the platforms: --platform linux/amd64,linux/arm64"},
		{"build-arg-file", "", "pass each argument with --build-arg NAME=VALUE"},
		{"jobs", "*", ""},
		{"from", "", "use an ARG in the FROM line and set it with --build-arg"},
		{"ignorefile", "", "put the file beside the Dockerfile as DOCKERFILE.dockerignore"},
		{"env", "", "use ENV in the Dockerfile"},
		{"unsetenv", "", "use ENV in the Dockerfile"},
		{"unsetlabel", "", "use LABEL in the Dockerfile"},
		{"identity-label", "bool false", "use --label"},
		{"inherit-labels", "bool true", "set labels with --label"},
		{"logfile", "", "use: cpc build … 2> FILE"},
		{"manifest", "", "use --tag; with several platforms the image is a multi-platform image"},
		{"omit-history", "bool false", "the history is always part of the image: cpc history"},
		{"rewrite-timestamp", "bool false", "set SOURCE_DATE_EPOCH: --build-arg SOURCE_DATE_EPOCH=SECONDS"},
		{"timestamp", "", "set SOURCE_DATE_EPOCH: --build-arg SOURCE_DATE_EPOCH=SECONDS"},
		{"source-date-epoch", "", "use: --build-arg SOURCE_DATE_EPOCH=SECONDS"},
		{"sign-by", "", noSigning},
		{"skip-unused-stages", "bool true", "cpc builds only the stages that the target needs"},
		{"decryption-key", "", "images are not encrypted"},
		{"cw", "", "images are not encrypted"},
		{"cpp-flag", "", "cpc has no preprocessor for Dockerfiles"},
		{"created-annotation", "bool *", ""},
		{"inherit-annotations", "bool *", ""},
		{"layer-label", "", "label the image with --label"},
		{"sbom-output", "", "print the bill of materials with: cpc sbom IMAGE"},
		{"sbom-image-output", "", "the bill of materials is attached to the image: cpc sbom IMAGE"},
		{"disable-compression", "bool *", ""},
		{"unsetannotation", "", "use --annotation"},
	})
}

// strangePodmanSteps are those of podman build about the containers of steps.
func strangePodmanSteps() []strange {
	return []strange{
		{"cap-add", "", "a RUN step has the capabilities that docker gives by default"},
		{"cap-drop", "", "a RUN step has the capabilities that docker gives by default"},
		{"dns", "", "cpc resolves names for RUN steps as this host does"},
		{"dns-search", "", "cpc resolves names for RUN steps as this host does"},
		{"dns-option", "", "cpc resolves names for RUN steps as this host does"},
		{"http-proxy", "bool false", "use --proxy: steps then connect through the proxies of the host"},
		{"pid", "private", noShared},
		{"ipc", "private", noShared},
		{"uts", "private", noShared},
		{"cgroupns", "private", noShared},
		{"userns", "private auto", noShared},
		{"userns-uid-map", "", noIDs},
		{"userns-gid-map", "", noIDs},
		{"userns-uid-map-user", "", noIDs},
		{"userns-gid-map-group", "", noIDs},
		{"group-add", "", "a RUN step runs as the USER of the Dockerfile"},
		{"hooks-dir", "", noHooks},
		{"no-hostname", "bool *", ""},
		{"no-hosts", "bool false", noEtcFiles},
		{"runtime-flag", "", "cpc chooses the flags of the runtime"},
		{"stdin", "bool false", "a RUN step has no standard input"},
		{"network-alias", "", noAddress},
		{"memory-swappiness", "-1 0", noTuning},
	}
}
