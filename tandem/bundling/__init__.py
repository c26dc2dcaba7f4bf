"""Making an offline bundle on a connected machine: signed packages, images and weights in one folder.

BUNDLE/InRelease        signed with the bundle's key, written last: without it the bundle is not complete. It names
                        the SHA-256 of the two files below, and the second of them that of every other file
BUNDLE/Packages         the index of the apt repository that the folder is
BUNDLE/MANIFEST.json    what the bundle is for, and every file with size and SHA-256
BUNDLE/packages/*.deb
BUNDLE/images/          one OCI layout with every image, digests preserved
BUNDLE/weights/REVISION/FILE
BUNDLE/.work/           of the machine that made it; no part of the bundle
"""
