// Copyright the cpc authors.
// SPDX-License-Identifier: Apache-2.0

package inventory

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/CycloneDX/cyclonedx-go"
	"github.com/spdx/tools-golang/json"
	"github.com/spdx/tools-golang/spdx/v2/common"
	"github.com/spdx/tools-golang/spdx/v2/v2_3"

	"github.com/claude-pocket-console/cpc/sbom"
)

// created is the time of the image, not of the document: documents of one image
// are alike.
func created(s sbom.Subject) string { return s.Created.UTC().Format(time.RFC3339) }

// hex is the image's digest without its algorithm.
func hex(s sbom.Subject) string { return s.Digest[strings.IndexByte(s.Digest, ':')+1:] }

const (
	noAssertion = "NOASSERTION"
	imageID     = "Image"
)

// SPDX writes the inventory as an SPDX 2.3 document in JSON.
func SPDX(inv sbom.Inventory, about sbom.Subject) ([]byte, error) {
	doc := &v2_3.Document{
		SPDXVersion: v2_3.Version, DataLicense: v2_3.DataLicense, SPDXIdentifier: "DOCUMENT", DocumentName: about.Name,
		DocumentNamespace: "https://spdx.org/spdxdocs/cpc-" + hex(about),
		CreationInfo: &v2_3.CreationInfo{
			Created:  created(about),
			Creators: []common.Creator{{CreatorType: "Tool", Creator: about.Tool}},
		},
		Packages: []*v2_3.Package{{
			PackageSPDXIdentifier: imageID, PackageName: about.Name, PackageVersion: about.Digest,
			PackageDownloadLocation: noAssertion, PrimaryPackagePurpose: "CONTAINER",
			PackageChecksums: []common.Checksum{{Algorithm: common.SHA256, Value: hex(about)}},
		}},
		Relationships: []*v2_3.Relationship{relate("DOCUMENT", "DESCRIBES", imageID)},
	}
	for i, p := range inv.Packages {
		id := "Package-" + strconv.Itoa(i+1)
		doc.Packages = append(doc.Packages, spdxPackage(id, p))
		doc.Relationships = append(doc.Relationships, relate(imageID, "CONTAINS", id))
	}
	var buf bytes.Buffer
	if err := json.Write(doc, &buf, json.Indent(" ")); err != nil {
		return nil, fmt.Errorf("spdx: %w", err)
	}
	return buf.Bytes(), nil
}

func spdxPackage(id string, p sbom.Package) *v2_3.Package {
	out := &v2_3.Package{
		PackageSPDXIdentifier: common.ElementID(id), PackageName: p.Name, PackageVersion: p.Version,
		PackageDownloadLocation: noAssertion, PackageLicenseConcluded: noAssertion, PackageLicenseDeclared: noAssertion,
	}
	if len(p.Locations) > 0 {
		out.PackageSourceInfo = "found in /" + strings.Join(p.Locations, ", /")
	}
	if len(p.Licenses) > 0 { // as the package says it, which is no SPDX expression
		out.PackageLicenseComments = strings.Join(p.Licenses, ", ")
	}
	if p.PURL != "" {
		out.PackageExternalReferences = []*v2_3.PackageExternalReference{
			{Category: common.CategoryPackageManager, RefType: "purl", Locator: p.PURL},
		}
	}
	return out
}

func relate(a, how, b string) *v2_3.Relationship {
	return &v2_3.Relationship{
		RefA: common.MakeDocElementID("", a), RefB: common.MakeDocElementID("", b), Relationship: how,
	}
}

// CycloneDX writes the inventory as a CycloneDX 1.6 document in JSON.
func CycloneDX(inv sbom.Inventory, about sbom.Subject) ([]byte, error) {
	bom := cyclonedx.NewBOM()
	bom.Metadata = &cyclonedx.Metadata{
		Timestamp: created(about),
		Component: &cyclonedx.Component{
			BOMRef: imageID, Type: cyclonedx.ComponentTypeContainer, Name: about.Name, Version: about.Digest,
			Hashes: &[]cyclonedx.Hash{{Algorithm: cyclonedx.HashAlgoSHA256, Value: hex(about)}},
		},
		Tools: &cyclonedx.ToolsChoice{
			Components: &[]cyclonedx.Component{{Type: cyclonedx.ComponentTypeApplication, Name: about.Tool}},
		},
	}
	components := make([]cyclonedx.Component, 0, len(inv.Packages))
	for i, p := range inv.Packages {
		c := cyclonedx.Component{
			BOMRef: "package-" + strconv.Itoa(i+1), Type: cyclonedx.ComponentTypeLibrary,
			Name: p.Name, Version: p.Version, PackageURL: p.PURL,
		}
		if len(p.Licenses) > 0 {
			licenses := cyclonedx.Licenses{}
			for _, l := range p.Licenses {
				licenses = append(licenses, cyclonedx.LicenseChoice{License: &cyclonedx.License{Name: l}})
			}
			c.Licenses = &licenses
		}
		if len(p.Locations) > 0 {
			at := make([]cyclonedx.EvidenceOccurrence, len(p.Locations))
			for i, l := range p.Locations {
				at[i].Location = "/" + l
			}
			c.Evidence = &cyclonedx.Evidence{Occurrences: &at}
		}
		components = append(components, c)
	}
	bom.Components = &components
	var buf bytes.Buffer
	if err := cyclonedx.NewBOMEncoder(&buf, cyclonedx.BOMFileFormatJSON).SetPretty(true).EncodeVersion(bom, cyclonedx.SpecVersion1_6); err != nil {
		return nil, fmt.Errorf("cyclonedx: %w", err)
	}
	return buf.Bytes(), nil
}
