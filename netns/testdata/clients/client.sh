#!/bin/sh
# Copyright the cpc authors.
# SPDX-License-Identifier: Apache-2.0
#
# client.sh PROGRAM HOST CA: does with a program what people do, and prints a line
# "WHAT: WHAT CAME OF IT" for each. HOME is a directory of its own.
# shellcheck disable=SC2317 # functions are called by their names
set -u
program=$1 host=$2 ca=$3
cd || exit 1
head -c 8388608 /dev/zero | tr '\0' 'x' >big

# fact WHAT COMMAND…: what the command prints, in one line, and how it failed. The
# bound is the program's own, or that of timeout(1).
fact() {
	what=$1
	shift
	start=$(date +%s%N)
	said=$("$@" 2>>err) || said="${said:+$said }error $?"
	printf '%s: %s\n' "$what" "$(echo "$said" | tr '\n' ' ' | sed 's/ *$//')"
	echo "$what took $((($(date +%s%N) - start) / 1000000)) ms" >>err
}

sum() { sha256sum | cut -d ' ' -f 1; }

use_curl() {
	for version in http1.0 http1.1 http2; do
		case $version in http1.0) schemes=http ;; http1.1) schemes='http https' ;; http2) schemes=https ;; esac
		for scheme in $schemes; do
			url=$scheme://$host
			c() { curl -sS "--$version" --max-time 45 --cacert "$ca" "$@"; }
			get_sum() { c "$url/down" | sum; }
			kept() { c -o /dev/null -o /dev/null -w '%{num_connects} ' "$url/" "$url/"; }
			at_once() { c -Z --parallel-max 20 -o /dev/null -w '%{http_code} ' "$url/?[1-20]" | tr ' ' '\n' | grep -c 200; }
			fact "$version $scheme" c "$url/"
			fact "$version $scheme download" get_sum
			fact "$version $scheme upload" c -T big "$url/up"
			[ $version = http1.0 ] && continue
			fact "$version $scheme kept" kept
			fact "$version $scheme post" c --data-binary @big "$url/up"
			fact "$version $scheme at once" at_once
			fact "$version $scheme cut" c -o /dev/null "$url/cut"
		done
	done
	fact "refused name" curl -sS --max-time 45 http://other.test/
	fact "refused port" curl -sS --max-time 45 "http://$host:81/"
	fact "other name" curl -sS --max-time 45 --connect-to "other.test:80:$host:80" -o /dev/null -w '%{http_code}' http://other.test/
	fact "other name TLS" curl -ksS --max-time 45 --connect-to "other.test:443:$host:443" https://other.test/
}

use_git() {
	export GIT_SSL_CAINFO="$ca" GIT_TERMINAL_PROMPT=0
	git config --global user.email test@site.test && git config --global user.name test
	# Not HTTP/2 for pushes: Debian 12's git and curl sometimes send a pack wrong that
	# way (it is wrong before it is encrypted).
	bounded() { timeout 45 git "$@"; }
	for scheme in http https; do
		rm -rf work
		fact "$scheme clone" bounded clone -q "$scheme://$host/git/repo" work
		fact "$scheme file" sh -c 'sha256sum <work/big | cut -d " " -f 1'
		# A pack of this size is sent in chunks.
		head -c 4000000 /dev/urandom >"work/$scheme" && git -C work add . && git -C work commit -qm "$scheme"
		fact "$scheme push" bounded -C work -c http.version=HTTP/1.1 push -q origin HEAD:main
		# shellcheck disable=SC2016 # the inner shell's
		fact "$scheme pushed" sh -c '[ "$(timeout 45 git -C work ls-remote -q origin main | cut -f 1)" = "$(git -C work rev-parse HEAD)" ] && echo same'
		fact "$scheme cut" bounded clone -q "$scheme://$host/cut" cut
	done
	fact "refused name" bounded ls-remote -q https://other.test/git/repo
}

use_npm() {
	export npm_config_cafile="$ca" npm_config_fetch_retries=0 npm_config_audit=false npm_config_fund=false npm_config_update_notifier=false
	export npm_config_loglevel=error npm_config_fetch_timeout=15000 npm_config_ignore_scripts=true
	for scheme in http https; do
		rm -rf node_modules package*.json .npm
		fact "$scheme install" sh -c "timeout 60 npm install --registry $scheme://$host/npm/ thing >&2 && sha256sum <node_modules/thing/big | cut -d ' ' -f 1"
	done
	refused() { timeout 60 npm view --registry https://other.test/npm/ thing >/dev/null; }
	fact "refused name" refused
}

use_apt() {
	mkdir -p state/lists/partial cache/archives/partial etc
	: >etc/status
	for scheme in http https; do
		rm -rf state/lists/* ./*.deb
		echo "deb [trusted=yes] $scheme://$host/apt ./" >etc/list
		a() {
			timeout 60 apt-get -qq -o Dir::State="$PWD/state" -o Dir::State::status="$PWD/etc/status" -o Dir::Cache="$PWD/cache" -o Dir::Etc="$PWD/etc" \
				-o Dir::Etc::sourcelist="$PWD/etc/list" -o APT::Sandbox::User=root -o Acquire::Retries=0 -o Acquire::https::CAInfo="$ca" \
				-o APT::Update::Error-Mode=any "$@"
		}
		fact "$scheme update" a update
		fact "$scheme download" a download thing
		fact "$scheme file" sh -c "sha256sum <thing_1_all.deb | cut -d ' ' -f 1"
	done
	echo "deb [trusted=yes] http://other.test/apt ./" >etc/list
	fact "refused name" a update
}

"use_$program"
cat err >&2
